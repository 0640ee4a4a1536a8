"""ConfigMaps and Secrets that pods use, remembered for a short time."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.api.errors import StatusError, not_found
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.client.rest_client import RestClient

REMEMBERED_MAX = 4096


class ObjectCache:
    """Read objects by name; one that was read within `fresh_s` is not asked for again.

    Absence is never remembered, so that a pod waiting for its ConfigMap starts as soon as it is
    there. `clock` counts seconds.
    """

    def __init__(self, client: RestClient, clock: Callable[[], float], fresh_s: float) -> None:
        self._client = client
        self._clock = clock
        self._fresh_s = fresh_s
        self._objects: dict[tuple[str, str, str], tuple[float, JsonObject]] = {}

    async def get(self, resource: Resource, namespace: str, name: str) -> JsonObject:
        """Return the object; StatusError 404 where there is none."""
        key = (resource.plural, namespace, name)
        known = self._objects.get(key)
        now = self._clock()
        if known is not None and now - known[0] < self._fresh_s:
            return known[1]
        self._objects.pop(key, None)
        obj = await self._client.get(resource, namespace, name)
        if len(self._objects) >= REMEMBERED_MAX:
            self._objects.pop(next(iter(self._objects)))
        self._objects[key] = (now, obj)
        return obj


class NoObjects:
    """A cache for runtimes that run no programs: nothing is ever found."""

    async def get(self, resource: Resource, namespace: str, name: str) -> JsonObject:
        raise not_found(resource, name)


def missing_text(resource: Resource, namespace: str, name: str, error: StatusError) -> str:
    """Word a failed read as the kubelet's events do."""
    if error.code == 404:
        return f'{resource.kind.lower()} "{name}" not found'
    return f"couldn't get {resource.kind.lower()} {namespace}/{name}: {error.message}"
