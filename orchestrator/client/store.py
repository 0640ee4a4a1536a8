"""The objects of one kind as last seen, with indexes: the memory of an informer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from orchestrator.api.json_object import JsonObject
from orchestrator.client.object_key import ObjectKey, key_of

IndexFunction = Callable[[JsonObject], Iterable[str]]
"""The values under which an object is found; none leaves it out of the index."""

BY_NAMESPACE = "namespace"
"""An index that every store has."""


class Store:
    """Objects by key and by index.

    Objects are shared by all who read them: never change one, copy it first. Reads by key or
    index cost O(result).
    """

    def __init__(self, indexers: Mapping[str, IndexFunction] | None = None) -> None:
        self._objects: dict[ObjectKey, JsonObject] = {}
        self._indexers: dict[str, IndexFunction] = {BY_NAMESPACE: _namespaces}
        self._indexes: dict[str, dict[str, dict[ObjectKey, JsonObject]]] = {BY_NAMESPACE: {}}
        self.add_indexers(indexers or {})

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[JsonObject]:
        return iter(self._objects.values())

    def add_indexers(self, indexers: Mapping[str, IndexFunction]) -> None:
        """Index by further functions; a name that is there already must mean the same function."""
        for name, function in indexers.items():
            if name in self._indexers:
                assert self._indexers[name] is function, f"two functions for the index {name!r}"
                continue
            self._indexers[name] = function
            index: dict[str, dict[ObjectKey, JsonObject]] = {}
            self._indexes[name] = index
            for key, obj in self._objects.items():
                for value in function(obj):
                    index.setdefault(value, {})[key] = obj

    def object_keys(self) -> list[ObjectKey]:
        """Return all keys."""
        return list(self._objects)

    def get(self, key: ObjectKey) -> JsonObject | None:
        """Return the object, or None."""
        return self._objects.get(key)

    def by_index(self, name: str, value: str) -> list[JsonObject]:
        """Return the objects that the named index keeps under `value`."""
        found = self._indexes[name].get(value)
        return [*found.values()] if found else []

    def put(self, obj: JsonObject) -> JsonObject | None:
        """Keep an object; return the one that it takes the place of, or None."""
        key = key_of(obj)
        old = self._objects.get(key)
        self._objects[key] = obj
        for name, function in self._indexers.items():
            index = self._indexes[name]
            if old is not None:
                _unindex(index, function(old), key)
            for value in function(obj):
                index.setdefault(value, {})[key] = obj
        return old

    def delete(self, key: ObjectKey) -> JsonObject | None:
        """Forget an object and return it; None if it was not there."""
        old = self._objects.pop(key, None)
        if old is not None:
            for name, function in self._indexers.items():
                _unindex(self._indexes[name], function(old), key)
        return old

    def list(self) -> list[JsonObject]:
        """Return all objects."""
        return [*self._objects.values()]


def _namespaces(obj: JsonObject) -> tuple[str, ...]:
    return (obj["metadata"].get("namespace", ""),)


def _unindex(
    index: dict[str, dict[ObjectKey, JsonObject]], values: Iterable[str], key: ObjectKey
) -> None:
    for value in values:
        under = index.get(value)
        if under is None:
            continue
        under.pop(key, None)
        if not under:
            del index[value]
