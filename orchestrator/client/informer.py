"""A cache of one kind that others read and are told about: one watch, however many readers."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.client.backoff import RandomSource
from orchestrator.client.lister import Lister
from orchestrator.client.object_key import key_of
from orchestrator.client.reflector import Reflector
from orchestrator.client.rest_client import RestClient, WatchEvent
from orchestrator.client.store import IndexFunction, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventHandler:
    """Three callbacks, any of which may be None. They must not block, nor change the objects."""

    on_add: Callable[[JsonObject], None] | None = None
    on_update: Callable[[JsonObject, JsonObject], None] | None = None
    """Old, new."""
    on_delete: Callable[[JsonObject], None] | None = None
    """The last state seen, which is not the final one if the delete happened between watches."""

    @classmethod
    def for_any(cls, callback: Callable[[JsonObject], None]) -> "EventHandler":
        """Call back with the newest state, whatever happened to it."""
        return cls(callback, lambda _, new: callback(new), callback)


class Informer:
    """Store, indexes, handlers and `synced` for one kind.

    Handlers run before anything else can, after the store has the change. What a handler raises is
    logged and goes no further: one malformed object must not stop the controllers of all others.
    """

    def __init__(
        self,
        client: RestClient,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str | None = None,
        field_selector: str | None = None,
        indexers: Mapping[str, IndexFunction] | None = None,
        random_source: RandomSource | None = None,
    ) -> None:
        self.resource = resource
        self.store = Store(indexers)
        self.lister = Lister(resource, self.store)
        self.synced = asyncio.Event()
        """Set once the first complete list is in the store and its handlers have run."""
        self._handlers: list[EventHandler] = []
        self._reflector = Reflector(
            client,
            resource,
            self,
            random_source or random.Random(),
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )

    def add_handler(self, handler: EventHandler) -> None:
        """Call this handler from now on, and at once with an add of everything in the store."""
        self._handlers.append(handler)
        for obj in self.store.list():
            self._call(handler.on_add, obj)

    async def wait_synced(self) -> None:
        """Wait for the first complete list."""
        await self.synced.wait()

    async def run(self) -> None:
        """List and watch until cancelled."""
        await self._reflector.run()

    def replace(self, objects: Iterable[JsonObject]) -> None:
        """Take a new list (ReflectorSink): tell handlers the difference to the store."""
        gone = set(self.store.object_keys())
        for obj in objects:
            gone.discard(key_of(obj))
            self._put(obj)
        for key in gone:
            self._dispatch_delete(self.store.delete(key))
        self.synced.set()

    def apply(self, event: WatchEvent) -> None:
        """Take one event of the watch (ReflectorSink)."""
        if event.type == "DELETED":
            self.store.delete(key_of(event.object))
            self._dispatch_delete(event.object)
        else:
            self._put(event.object)

    def _put(self, obj: JsonObject) -> None:
        old = self.store.put(obj)
        if old is None:
            for handler in self._handlers:
                self._call(handler.on_add, obj)
        elif old["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            for handler in self._handlers:
                self._call(handler.on_update, old, obj)

    def _dispatch_delete(self, obj: JsonObject | None) -> None:
        if obj is None:
            return
        for handler in self._handlers:
            self._call(handler.on_delete, obj)

    def _call(self, callback: Callable[..., None] | None, *objects: JsonObject) -> None:
        if callback is None:
            return
        try:
            callback(*objects)
        except Exception:
            key = key_of(objects[-1])
            log.exception("handler failed: kind=%s key=%s", self.resource.kind, key)


class InformerFactory:
    """The informers that one process shares: at most one per kind, over all namespaces."""

    def __init__(self, client: RestClient, random_source: RandomSource | None = None) -> None:
        self._client = client
        self._random = random_source or random.Random()
        self._informers: dict[Resource, Informer] = {}

    def informer(
        self, resource: Resource, indexers: Mapping[str, IndexFunction] | None = None
    ) -> Informer:
        """Return the kind's informer, made at the first call, and add the indexes to it."""
        informer = self._informers.get(resource)
        if informer is None:
            informer = Informer(self._client, resource, random_source=self._random)
            self._informers[resource] = informer
        informer.store.add_indexers(indexers or {})
        return informer

    async def wait_synced(self) -> None:
        """Wait until every informer asked for so far is synced."""
        for informer in [*self._informers.values()]:
            await informer.wait_synced()

    async def run(self) -> None:
        """Run all informers asked for so far until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run(), name=f"informer/{informer.resource.plural}")
