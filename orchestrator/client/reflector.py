"""Keep a sink equal to what the API server has: list once, then watch for ever.

The watch resumes at the last resourceVersion seen, bookmarks included. When the server no longer
has that version (410), everything is listed again and replaced. A failure of any other kind is
waited out with backoff and the watch resumes; nothing is missed, because versions order everything.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final, Protocol

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.client.backoff import Backoff, BackoffPolicy, RandomSource
from orchestrator.client.errors import ServerUnreachableError, WatchLineTooLongError
from orchestrator.client.rest_client import RestClient, WatchEvent

log = logging.getLogger(__name__)

RETRY: Final = BackoffPolicy(initial_s=0.1, maximum_s=30.0, jitter=1.0)
LIST_PAGE_SIZE: Final = 5000
WATCH_TIMEOUT_S: Final = 300
"""Asked of the server and stretched by up to two, so that watches do not all end at once."""


class ReflectorSink(Protocol):
    """What receives the state; called from one task only, and must not block."""

    def replace(self, objects: Iterable[JsonObject]) -> None:
        """Take these as all there is."""
        ...

    def apply(self, event: WatchEvent) -> None:
        """Take one ADDED, MODIFIED or DELETED event."""
        ...


class Reflector:
    """List and watch of one kind, in one or all namespaces, through optional selectors."""

    def __init__(
        self,
        client: RestClient,
        resource: Resource,
        sink: ReflectorSink,
        random: RandomSource,
        *,
        namespace: str = "",
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> None:
        self.resource = resource
        self._client = client
        self._sink = sink
        self._random = random
        self._backoff = Backoff(RETRY, random)
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._resource_version: str | None = None
        """Where the next watch starts; None asks for a list first."""

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                if self._resource_version is None:
                    await self._list()
                await self._watch()
            except StatusError as exc:
                if exc.code == 410:
                    self._resource_version = None
                await self._wait(exc)
            except (ServerUnreachableError, WatchLineTooLongError) as exc:
                await self._wait(exc)

    async def _wait(self, exc: Exception) -> None:
        wait_s = self._backoff.next_wait_s()
        log.info("list or watch of %s failed: %s; retry", self.resource.plural, exc)
        await asyncio.sleep(wait_s)

    async def _list(self) -> None:
        """Read all pages at one revision and hand them over as one state."""
        objects: list[JsonObject] = []
        token: str | None = None
        while True:
            page = await self._client.list(
                self.resource,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=LIST_PAGE_SIZE,
                continue_token=token,
            )
            objects += page.get("items") or ()
            token = page["metadata"].get("continue") or None
            if token is None:
                break
        # Items of a list leave out what the list says for all of them; keep objects whole.
        for obj in objects:
            obj.setdefault("apiVersion", self.resource.group_version)
            obj.setdefault("kind", self.resource.kind)
        self._sink.replace(objects)
        self._resource_version = page["metadata"]["resourceVersion"]
        self._backoff.reset()

    async def _watch(self) -> None:
        """Follow one watch to its end; a clean end is no failure."""
        async for event in self._client.watch(
            self.resource,
            self._namespace,
            resource_version=self._resource_version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_s=int(WATCH_TIMEOUT_S * (1 + self._random.random())),
        ):
            self._backoff.reset()
            if event.type != "BOOKMARK":
                self._sink.apply(event)
            self._resource_version = event.object["metadata"]["resourceVersion"]
