"""Server-side apply: a manager states what it wants of an object, and owns what it states.

- Fields of the configuration are merged into the object by the schema's list and map types.
- A field that another manager owns with another value is a conflict, unless forced.
- A field that the manager stated before, states no more, and nobody else owns, is removed.

Source: KEP-555 and structured-merge-diff.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from orchestrator.api.errors import StatusError, apply_conflict, bad_request
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.patch.field_paths import (
    FieldSet,
    Path,
    below,
    is_atomic,
    item_step,
    path_text,
    prefixes,
    remove_path,
)
from orchestrator.api.patch.managed_fields import (
    APPLY,
    BEFORE_FIRST_APPLY,
    UPDATE,
    ManagedEntry,
    changed_fields,
    put_entry,
    read_entries,
    stated_fields,
    write_entries,
)
from orchestrator.api.resource import Resource
from orchestrator.api.schema import SchemaNode, schema_of
from orchestrator.api.times import format_time


def apply(
    resource: Resource,
    live: JsonObject | None,
    applied: JsonObject,
    *,
    manager: str,
    force: bool,
    now: datetime,
    subresource: str = "",
) -> JsonObject:
    """Return `live` (None: nothing yet) with the configuration `applied` merged in.

    The result carries the new `managedFields` and is neither defaulted nor validated. It equals
    `live` where the manager applied the same before. StatusError 409 for conflicts, 400 for a
    list-map in which two items have the same keys.
    """
    schema = schema_of(resource.group_version, resource.kind)
    entries = _entries(resource, live, now)
    identity = (manager, APPLY, resource.group_version, subresource)
    others = [entry for entry in entries if entry.identity != identity]
    mine = next((entry.fields for entry in entries if entry.identity == identity), frozenset())
    fields = stated_fields(resource, applied, subresource)
    changed = changed_fields(fields, live or {}, applied)
    conflicts = [(entry, path) for entry in others for path in sorted(entry.fields & changed)]
    if conflicts and not force:
        raise _conflict_error(conflicts)
    if conflicts:
        others = [replace(entry, fields=entry.fields - changed) for entry in others]
    merged: JsonObject = copy_json(live or {})
    stated = _only(applied, resource, subresource)
    _merge_object(merged, stated, schema)
    owned = frozenset[Path]().union(fields, *(entry.fields for entry in others))
    _remove(merged, mine - owned, owned)
    if live is not None:
        others = [entry for entry in entries if entry.identity == identity] + others
    write_entries(merged, put_entry(others, ManagedEntry(*identity, "", fields), now))
    return merged


def _entries(resource: Resource, live: JsonObject | None, now: datetime) -> list[ManagedEntry]:
    """The object's entries; what it had before the first apply belongs to a manager of its own."""
    if live is None:
        return []
    entries = read_entries(live)
    if entries:
        return entries
    fields = stated_fields(resource, live)
    time = live.get("metadata", {}).get("creationTimestamp") or format_time(now)
    version = resource.group_version
    return [ManagedEntry(BEFORE_FIRST_APPLY, UPDATE, version, "", time, fields)]


def _only(applied: JsonObject, resource: Resource, subresource: str) -> JsonObject:
    """The part of the configuration that this path of the resource may write."""
    status = resource.strategy.status_fields if resource.has_status else ()
    if subresource == "status":
        return {key: value for key, value in applied.items() if key in status}
    kept = {key: value for key, value in applied.items() if key not in status}
    metadata = dict(kept.get("metadata") or {})
    metadata.pop("managedFields", None)
    return {**kept, "metadata": metadata}


def _conflict_error(conflicts: list[tuple[ManagedEntry, Path]]) -> StatusError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {entry.describe()}",
            "field": path_text(path),
        }
        for entry, path in conflicts
    ]
    if len(conflicts) == 1:
        entry, path = conflicts[0]
        text = f"conflict with {entry.describe()}: {path_text(path)}"
        return apply_conflict(causes, f"Apply failed with 1 conflict: {text}")
    by_manager: dict[str, list[str]] = {}
    for entry, path in conflicts:
        by_manager.setdefault(entry.describe(), []).append(path_text(path))
    lines = []
    for name in sorted(by_manager):
        lines.append(f"conflicts with {name}:")
        lines += [f"- {text}" for text in by_manager[name]]
    text = "\n".join(lines)
    return apply_conflict(causes, f"Apply failed with {len(conflicts)} conflicts: {text}")


def _merge_object(target: JsonObject, applied: JsonObject, node: SchemaNode | None) -> None:
    for key, value in applied.items():
        target[key] = _merge_value(target.get(key), value, below(node, key))


def _merge_value(old: Any, new: Any, node: SchemaNode | None) -> Any:
    if is_atomic(new, node):
        return copy_json(new)
    if isinstance(new, dict):
        merged = old if isinstance(old, dict) else {}
        _merge_object(merged, new, node)
        return merged
    assert node is not None  # a list is granular only by its schema
    return _merge_list(old if isinstance(old, list) else [], new, node)


def _merge_list(old: list[Any], new: list[Any], node: SchemaNode) -> list[Any]:
    """Merge items by key or value: applied ones in their order, each other one after the item
    that it followed."""
    old_steps = [item_step(item, node, index) for index, item in enumerate(old)]
    new_steps = [item_step(item, node, index) for index, item in enumerate(new)]
    for index, step in enumerate(new_steps):
        if step in new_steps[:index]:
            text = f"duplicate entries for key {path_text((step,))}"
            raise bad_request(f"failed to create typed patch object: {text}")
    existing = dict(zip(old_steps, old, strict=True))
    stated = set(new_steps)
    merged: list[Any] = []
    position = 0
    for step, item in zip(new_steps, new, strict=True):
        if step in existing:
            at = old_steps.index(step)
            merged += [
                row
                for row, name in zip(old[position:at], old_steps[position:at], strict=True)
                if name not in stated
            ]
            position = max(position, at + 1)
        merged.append(_merge_value(existing.get(step), item, node.items))
    rest = zip(old[position:], old_steps[position:], strict=True)
    return merged + [row for row, name in rest if name not in stated]


def _remove(obj: JsonObject, paths: FieldSet, owned: FieldSet) -> None:
    """Remove fields that nobody owns any more; items of lists only where nobody owns in them."""
    kept = prefixes(owned)
    # An item goes before its fields, which name it.
    for path in sorted(paths, key=len):
        if path not in kept:
            remove_path(obj, path, kept)
