"""The name of an object within its kind."""

from typing import NamedTuple

from orchestrator.api.json_object import JsonObject


class ObjectKey(NamedTuple):
    """Namespace and name; the namespace is empty for cluster-scoped objects.

    What work queues carry: the key only, never the object, which may be stale by the time it
    is worked on.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(obj: JsonObject) -> ObjectKey:
    """Return the key of an object that has metadata.name."""
    metadata = obj["metadata"]
    return ObjectKey(metadata.get("namespace", ""), metadata["name"])
