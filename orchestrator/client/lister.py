"""Reading an informer's cache by name, namespace and predicate."""

from collections.abc import Callable

from orchestrator.api.errors import not_found
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.client.object_key import ObjectKey
from orchestrator.client.store import BY_NAMESPACE, Store


class Lister:
    """A read-only view. The objects are the cache's own: copy before changing one."""

    def __init__(self, resource: Resource, store: Store) -> None:
        self._resource = resource
        self._store = store

    def get(self, namespace: str, name: str) -> JsonObject:
        """Return the object; raise StatusError 404 in the server's words if there is none."""
        obj = self._store.get(ObjectKey(namespace, name))
        if obj is None:
            raise not_found(self._resource, name)
        return obj

    def find(self, namespace: str, name: str) -> JsonObject | None:
        """Return the object, or None."""
        return self._store.get(ObjectKey(namespace, name))

    def list(
        self,
        namespace: str = "",
        matches: Callable[[JsonObject], bool] | None = None,
    ) -> list[JsonObject]:
        """Return the objects of a namespace (empty: of all) that the predicate takes."""
        if not namespace:
            objects = self._store.list()
        else:
            objects = self._store.by_index(BY_NAMESPACE, namespace)
        return objects if matches is None else [obj for obj in objects if matches(obj)]
