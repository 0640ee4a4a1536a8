"""Strategic merge patch: a merge patch that merges lists of objects by their keys.

The schema tells which lists merge (`patchStrategy: merge`) and by which key. Directives:

- `$patch: replace | delete | merge` in an object (or an item of a merged list);
- `$retainKeys: [...]`: drop every other field of this object;
- `$deleteFromPrimitiveList/<field>: [...]`: values to drop from a merged list of scalars;
- `$setElementOrder/<field>: [...]`: the order of a merged list; items that the order does not name
  keep their place relative to their neighbours.

Source: apimachinery's `strategicpatch`.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api.errors import bad_request
from orchestrator.api.json_object import JsonObject
from orchestrator.api.schema import ANY, SchemaNode, SchemaType

DIRECTIVE = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_PREFIX = "$deleteFromPrimitiveList/"
ORDER_PREFIX = "$setElementOrder/"


def apply_strategic_merge(
    original: JsonObject, patch: JsonObject, schema: SchemaNode
) -> JsonObject:
    """Change `original` by `patch` and return it; StatusError 400 for malformed directives."""
    directive = patch.get(DIRECTIVE)
    if directive == "replace":
        replaced: JsonObject = _without_directives(patch)
        return replaced
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown patch type found: {directive!r}")
    _retain_keys(original, patch)
    orders: dict[str, list[Any]] = {}
    for key, value in patch.items():
        if key in (DIRECTIVE, RETAIN_KEYS):
            continue
        if key.startswith(ORDER_PREFIX):
            orders[key.removeprefix(ORDER_PREFIX)] = _list(value, key)
        elif key.startswith(DELETE_PREFIX):
            _delete_values(original, key.removeprefix(DELETE_PREFIX), _list(value, key))
        elif value is None:
            original.pop(key, None)
        else:
            order = patch.get(f"{ORDER_PREFIX}{key}")
            node = _field(schema, key)
            _merge_field(original, key, value, node, order)
    for key, order in orders.items():
        if key not in patch and isinstance(original.get(key), list):
            original[key] = _in_order(original[key], order, _field(schema, key), [])
    return original


def _field(schema: SchemaNode, key: str) -> SchemaNode:
    match schema.type:
        case SchemaType.OBJECT:
            return schema.fields.get(key, ANY)
        case SchemaType.MAP:
            return schema.items
        case _:
            return ANY


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"invalid value for {key}: not a list")
    return value


def _retain_keys(original: JsonObject, patch: JsonObject) -> None:
    kept = patch.get(RETAIN_KEYS)
    if kept is None:
        return
    for key in [key for key in original if key not in _list(kept, RETAIN_KEYS)]:
        del original[key]


def _delete_values(original: JsonObject, key: str, values: list[Any]) -> None:
    found = original.get(key)
    if isinstance(found, list):
        original[key] = [value for value in found if value not in values]


def _merge_field(original: JsonObject, key: str, value: Any, node: SchemaNode, order: Any) -> None:
    if isinstance(value, dict):
        below = original.get(key)
        if "replace" in node.patch_strategy or not isinstance(below, dict):
            below = {}
        original[key] = apply_strategic_merge(below, value, node)
    elif isinstance(value, list):
        below = original.get(key)
        existing = below if isinstance(below, list) else []
        original[key] = _merge_list(existing, value, node, order)
    else:
        original[key] = value


def _merge_list(original: list[Any], patch: list[Any], node: SchemaNode, order: Any) -> list[Any]:
    if "merge" not in node.patch_strategy:
        return [_without_directives(item) if isinstance(item, dict) else item for item in patch]
    if any(isinstance(item, dict) and item.get(DIRECTIVE) == "replace" for item in patch):
        return [
            _without_directives(item)
            for item in patch
            if not (item.get(DIRECTIVE) == "replace" and len(item) == 1)
        ]
    if node.patch_merge_key is None:
        if any(isinstance(item, (dict, list)) for item in patch):
            raise bad_request("a merged list without a merge key holds scalars only")
        merged = original + [item for item in dict.fromkeys(patch) if item not in original]
        patched: list[Any] = patch
    else:
        merged, patched = _merge_items(original, patch, node, node.patch_merge_key)
    if isinstance(order, list):
        return _in_order(merged, order, node, patched)
    return merged


def _merge_items(
    original: list[Any], patch: list[Any], node: SchemaNode, merge_key: str
) -> tuple[list[Any], list[Any]]:
    """Merge items of equal key; return the list and the keys that the patch mentioned."""
    merged = list(original)
    mentioned = []
    for item in patch:
        if not isinstance(item, dict) or merge_key not in item:
            text = f"map: {item} does not contain declared merge key: {merge_key}"
            raise bad_request(text)
        key = item[merge_key]
        at = next((i for i, old in enumerate(merged) if old.get(merge_key) == key), None)
        if item.get(DIRECTIVE) == "delete":
            merged = [old for old in merged if old.get(merge_key) != key]
            continue
        mentioned.append(key)
        if at is None:
            merged.append(apply_strategic_merge({}, item, node.items))
        else:
            merged[at] = apply_strategic_merge(merged[at], item, node.items)
    return merged, mentioned


def _in_order(
    items: list[Any], order: list[Any], node: SchemaNode, patched: list[Any]
) -> list[Any]:
    """Sort the items that `order` names as it says; the others stay before the item they preceded.

    Cost: O(n) with n items and names.
    """
    merge_key = node.patch_merge_key
    if merge_key is None:
        ranks = {value: rank for rank, value in enumerate(order)}
        keys = items
    else:
        ranks = {
            row.get(merge_key): rank for rank, row in enumerate(order) if isinstance(row, dict)
        }
        keys = [item.get(merge_key) for item in items]
    named = sorted(
        ((ranks[key], item) for key, item in zip(keys, items, strict=True) if key in ranks),
        key=lambda row: row[0],
    )
    merged: list[Any] = []
    following = iter(named)
    for key, item in zip(keys, items, strict=True):
        merged.append(next(following)[1] if key in ranks else item)
    return merged


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_directives(below)
            for key, below in value.items()
            if key not in (DIRECTIVE, RETAIN_KEYS)
            and not key.startswith((DELETE_PREFIX, ORDER_PREFIX))
            and below is not None
        }
    if isinstance(value, list):
        return [_without_directives(item) for item in value]
    return value
