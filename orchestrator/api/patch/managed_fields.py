"""`metadata.managedFields`: which manager states which fields.

An entry is known by manager, operation, apiVersion and subresource. Its time changes only when its
set does, so that applying the same thing again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.api.json_object import JsonObject
from orchestrator.api.patch.field_paths import (
    KEY,
    MISSING,
    FieldSet,
    Path,
    field_set,
    from_fields_v1,
    to_fields_v1,
    value_at,
)
from orchestrator.api.resource import Resource
from orchestrator.api.schema import schema_of
from orchestrator.api.times import format_time

APPLY, UPDATE = "Apply", "Update"
BEFORE_FIRST_APPLY = "before-first-apply"
ANCIENT_CHANGES = "ancient-changes"
UPDATE_MANAGERS_MAX = 10
"""Update entries of one object; older ones are folded into one entry."""

MANAGER_LENGTH_MAX = 128

_UNMANAGED_METADATA = (
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
)
_UNMANAGED: frozenset[Path] = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {("f:metadata", f"f:{name}") for name in _UNMANAGED_METADATA}
)
"""Fields that nobody owns: what the system writes, and what names the object."""


@dataclass(frozen=True, slots=True)
class ManagedEntry:
    """One entry; `fields` are the paths that the manager states."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return self.manager, self.operation, self.api_version, self.subresource

    def describe(self) -> str:
        """How conflicts name the manager."""
        text = f'"{self.manager}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        if self.operation == UPDATE:
            text += f" using {self.api_version}"
            if self.time:
                text += f" at {self.time}"
        return text


def read_entries(obj: JsonObject) -> list[ManagedEntry]:
    """The entries of an object; entries without a manager are dropped."""
    return [
        ManagedEntry(
            row.get("manager", ""),
            row.get("operation", ""),
            row.get("apiVersion", ""),
            row.get("subresource", ""),
            row.get("time", ""),
            from_fields_v1(row.get("fieldsV1")),
        )
        for row in obj.get("metadata", {}).get("managedFields") or ()
        if row.get("operation")
    ]


def write_entries(obj: JsonObject, entries: Iterable[ManagedEntry]) -> None:
    """Set `metadata.managedFields`: Apply before Update, then by time and name; empty sets go."""
    rows = []
    for entry in sorted(entries, key=lambda e: (e.operation, e.time, e.identity)):
        if not entry.fields:
            continue
        row: JsonObject = {
            "manager": entry.manager,
            "operation": entry.operation,
            "apiVersion": entry.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields_v1(entry.fields),
        }
        if entry.subresource:
            row["subresource"] = entry.subresource
        rows.append(row)
    metadata = obj.setdefault("metadata", {})
    if rows:
        metadata["managedFields"] = rows
    else:
        metadata.pop("managedFields", None)


def _belongs(resource: Resource, subresource: str) -> Callable[[Path], bool]:
    """Whether a request to this path of the resource may state a field."""
    status = {f"f:{name}" for name in resource.strategy.status_fields if resource.has_status}
    if subresource == "status":
        return lambda path: path[0] in status
    return lambda path: path[0] not in status and path not in _UNMANAGED


def stated_fields(resource: Resource, obj: JsonObject, subresource: str = "") -> FieldSet:
    """The fields that `obj` states and a manager may own."""
    schema = schema_of(resource.group_version, resource.kind)
    belongs = _belongs(resource, subresource)
    return frozenset(path for path in field_set(obj, schema) if belongs(path))


def changed_fields(fields: FieldSet, old: JsonObject, new: JsonObject) -> FieldSet:
    """Those of `fields` whose value in `new` is not the one in `old`."""
    return frozenset(path for path in fields if _differs(path, old, new))


def _differs(path: Path, old: JsonObject, new: JsonObject) -> bool:
    before, after = value_at(old, path), value_at(new, path)
    if before is MISSING:
        return True
    if path[-1].startswith(KEY) or (after == {} and isinstance(before, dict)):
        return False  # the item or the map is there; its fields are paths of their own
    return bool(before != after)


def put_entry(
    entries: list[ManagedEntry], entry: ManagedEntry, now: datetime
) -> list[ManagedEntry]:
    """Replace the entry of the same identity; its time is `now` where its set has changed."""
    old = next((row for row in entries if row.identity == entry.identity), None)
    time = old.time if old is not None and old.fields == entry.fields else format_time(now)
    return [row for row in entries if row is not old] + [replace(entry, time=time)]


def is_reset(obj: JsonObject) -> bool:
    """Whether a client asks to forget all managers: `managedFields: []` or `[{}]`."""
    rows = obj.get("metadata", {}).get("managedFields")
    return rows is not None and not any(rows)


def track_update(
    resource: Resource,
    old: JsonObject | None,
    new: JsonObject,
    *,
    manager: str,
    now: datetime,
    subresource: str = "",
) -> None:
    """Record in `new` that `manager` wrote what differs from `old`; other managers lose it.

    Called after defaulting and `prepare_for_*`, before storing. `old` is None on create. Cost:
    linear in both objects.
    """
    metadata = new.setdefault("metadata", {})
    if is_reset(new):
        metadata.pop("managedFields", None)
        return
    if old is not None and metadata.get("managedFields") is None:
        inherited = old.get("metadata", {}).get("managedFields")
        if inherited is not None:
            metadata["managedFields"] = inherited
    if old is not None and _same_content(old, new):
        return
    entries = read_entries(new)
    fields = stated_fields(resource, new, subresource)
    changed = fields if old is None else changed_fields(fields, old, new)
    identity = (manager[:MANAGER_LENGTH_MAX], UPDATE, resource.group_version, subresource)
    kept = []
    mine: FieldSet = frozenset()
    for entry in entries:
        present = frozenset(
            path for path in entry.fields if path in fields or value_at(new, path) is not MISSING
        )
        if entry.identity == identity:
            mine = present
            kept.append(entry)
        else:
            kept.append(replace(entry, fields=present - changed))
    kept = put_entry(kept, ManagedEntry(*identity, "", mine | changed), now)
    write_entries(new, _fold_old_updates(kept, resource.group_version))


def _same_content(old: JsonObject, new: JsonObject) -> bool:
    """Whether nothing but bookkeeping differs."""
    if {**old, "metadata": None} != {**new, "metadata": None}:
        return False
    skipped = ("managedFields", "resourceVersion", "generation")
    before, after = old.get("metadata", {}), new.get("metadata", {})
    return {k: v for k, v in before.items() if k not in skipped} == {
        k: v for k, v in after.items() if k not in skipped
    }


def _fold_old_updates(entries: list[ManagedEntry], api_version: str) -> list[ManagedEntry]:
    """Keep at most UPDATE_MANAGERS_MAX Update entries, the oldest joined into one."""
    updates = sorted(
        (row for row in entries if row.operation == UPDATE and row.fields),
        key=lambda row: (row.time, row.identity),
    )
    over = len(updates) - UPDATE_MANAGERS_MAX
    if over <= 0:
        return entries
    folded = updates[: over + 1]
    fields: FieldSet = frozenset().union(*(row.fields for row in folded))
    joined = ManagedEntry(ANCIENT_CHANGES, UPDATE, api_version, "", folded[-1].time, fields)
    return [row for row in entries if row not in folded] + [joined]
