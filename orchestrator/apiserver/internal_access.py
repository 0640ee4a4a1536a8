"""The API server's own requests to its engine, without HTTP: bootstrap and admission use it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.api.resources import NAMESPACE
from orchestrator.apiserver.authentication import User
from orchestrator.apiserver.request_context import RequestContext
from orchestrator.apiserver.request_info import RequestInfo
from orchestrator.apiserver.resource_store import Make, ResourceStore
from orchestrator.apiserver.stored import Stored

SELF = User("system:apiserver", ("system:masters",))


class InternalAccess:
    """Reads and writes through `ResourceStore`s as `system:apiserver`."""

    def __init__(self, stores: Mapping[tuple[str, str, str], ResourceStore]) -> None:
        self._stores = stores

    def store(self, resource: Resource) -> ResourceStore:
        return self.store_of(resource.group, resource.version, resource.plural)

    def store_of(self, group: str, version: str, plural: str) -> ResourceStore:
        """Return the store of a row by its names; KeyError where there is none."""
        return self._stores[group, version, plural]

    async def get(self, resource: Resource, namespace: str, name: str) -> Stored | None:
        store = self.store(resource)
        return await store.storage.get(store.key(namespace, name))

    async def create(self, resource: Resource, namespace: str, obj: JsonObject) -> Stored:
        """Create an object; its apiVersion and kind are filled in."""
        obj = {"apiVersion": resource.group_version, "kind": resource.kind, **obj}
        context = self._context(resource, namespace, "", "create")
        return await self.store(resource).create(context, obj)

    async def update(self, resource: Resource, namespace: str, name: str, make: Make) -> Stored:
        context = self._context(resource, namespace, name, "update")
        stored, _ = await self.store(resource).update(context, make)
        return stored

    async def namespace(self, name: str) -> Stored | None:
        """Find a namespace in the cache; in the store where the cache may be behind.

        Whoever deleted it here and was told so must not find it alive.
        """
        store = self.store(NAMESPACE)
        await store.cache.ensure_started()
        key = store.key("", name)
        return store.known(key) or await store.storage.get(key)

    def _context(self, resource: Resource, namespace: str, name: str, verb: str) -> RequestContext:
        info = RequestInfo(
            resource.group, resource.version, resource.plural, namespace, name, "", (), verb
        )
        return RequestContext(SELF, resource, info, datetime.now(UTC), field_manager="apiserver")
