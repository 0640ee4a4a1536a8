"""Events, which two groups serve in two spellings; the core group's is stored."""

from __future__ import annotations

from orchestrator.api.errors import FieldError, invalid_value
from orchestrator.api.json_object import JsonObject, nested
from orchestrator.api.strategy import Strategy

_OBJECT_FIELDS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

_CORE_TO_EVENTS = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
"""Names of one field in the core group and in events.k8s.io."""
_EVENTS_TO_CORE = {there: here for here, there in _CORE_TO_EVENTS.items()}


class EventStrategy(Strategy):
    """Core v1 events."""

    allow_create_on_update = True
    selectable_fields = frozenset(
        {f"involvedObject.{name}" for name in _OBJECT_FIELDS}
        | {"reason", "reportingComponent", "source", "type"}
    )

    def __init__(self) -> None:
        super().__init__(has_status=False, has_generation=False)

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        return _validate_namespace(obj, "involvedObject")

    def fields(self, obj: JsonObject) -> dict[str, str]:
        values = super().fields(obj)
        source = nested(obj, "source", "component") or obj.get("reportingComponent") or ""
        values["source"] = source
        return values


class EventsGroupStrategy(EventStrategy):
    """events.k8s.io/v1 events: another spelling of the same stored objects."""

    selectable_fields = frozenset(
        {f"regarding.{name}" for name in _OBJECT_FIELDS} | {"reason", "reportingController", "type"}
    )

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        return _validate_namespace(obj, "regarding")

    def fields(self, obj: JsonObject) -> dict[str, str]:
        values = super().fields(obj)
        del values["source"]
        return values

    def to_storage(self, obj: JsonObject) -> JsonObject:
        return {_EVENTS_TO_CORE.get(k, k): v for k, v in obj.items()} | {"apiVersion": "v1"}

    def from_storage(self, obj: JsonObject) -> JsonObject:
        renamed = {_CORE_TO_EVENTS.get(key, key): value for key, value in obj.items()}
        return renamed | {"apiVersion": "events.k8s.io/v1"}


def _validate_namespace(obj: JsonObject, field: str) -> list[FieldError]:
    """The event lives beside its object; in `default` where that has no namespace."""
    given = nested(obj, field, "namespace") or ""
    namespace = obj["metadata"].get("namespace") or ""
    if given == namespace or (not given and namespace in ("default", "")):
        return []
    text = "does not match event.namespace"
    return [invalid_value(f"{field}.namespace", given, text)]
