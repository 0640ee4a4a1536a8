"""Paths of fields in an object, and sets of them, as `metadata.managedFields` writes them.

A path is a tuple of steps in the words of FieldsV1: `f:name` is a field or a map's key,
`k:{"name":"a"}` the item of a list-map with these keys, `v:"x"` a value of a set. A set of paths is
written as a trie, in which "." says that the path so far is itself a member:

    {"f:spec": {"f:ports": {"k:{\"port\":80}": {".": {}, "f:port": {}}}}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from orchestrator.api.json_object import JsonObject
from orchestrator.api.schema import KEY_DEFAULTS, SchemaNode, SchemaType

Path = tuple[str, ...]
FieldSet = frozenset[Path]

FIELD, KEY, VALUE = "f:", "k:", "v:"
SELF = "."


class _Missing:
    """The value of a path that an object does not have."""


MISSING: Final = _Missing()


def to_fields_v1(paths: Iterable[Path]) -> JsonObject:
    """Write a set as FieldsV1, its keys in order, so that equal sets are equal texts."""
    root: JsonObject = {}
    for path in sorted(paths):
        node = root
        for step in path[:-1]:
            below = node.setdefault(step, {})
            node = below
        node.setdefault(path[-1], {})[SELF] = {}
    return _without_lone_self(root)


def _without_lone_self(node: JsonObject) -> JsonObject:
    """A leaf is written {}, not {".": {}}."""
    return {
        step: {} if step == SELF or below == {SELF: {}} else _without_lone_self(below)
        for step, below in node.items()
    }


def from_fields_v1(fields: JsonObject | None) -> FieldSet:
    """Read FieldsV1; steps of unknown form are kept as they are."""
    found: set[Path] = set()

    def visit(node: JsonObject, path: Path) -> None:
        if not node and path:
            found.add(path)
        for step, below in node.items():
            if step == SELF:
                found.add(path)
            else:
                visit(below if isinstance(below, dict) else {}, (*path, step))

    visit(fields or {}, ())
    return frozenset(found)


def item_step(item: Any, node: SchemaNode, index: int) -> str:
    """The step that names one item of a list-map or set."""
    if node.list_type == "map" and isinstance(item, dict):
        keys = {name: item.get(name, KEY_DEFAULTS.get(name)) for name in node.list_map_keys}
        return KEY + _compact({name: value for name, value in keys.items() if value is not None})
    return VALUE + _compact(item)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def path_text(path: Path) -> str:
    """A path as people read it: `.spec.containers[name="a"].image`."""
    return "".join(map(_step_text, path))


def _step_text(step: str) -> str:
    kind, rest = step[:2], step[2:]
    if kind == FIELD:
        return f".{rest}"
    if kind == KEY:
        keys = json.loads(rest)
        return "[" + ",".join(f"{name}={_compact(value)}" for name, value in keys.items()) + "]"
    return f"[={rest}]"


def is_atomic(value: Any, node: SchemaNode | None) -> bool:
    """Whether a manager owns the value as a whole."""
    if isinstance(value, dict):
        if node is None:
            return False
        return node.map_type == "atomic" or node.type not in (SchemaType.OBJECT, SchemaType.MAP)
    if isinstance(value, list):
        return node is None or node.list_type not in ("map", "set")
    return True


def below(node: SchemaNode | None, key: str) -> SchemaNode | None:
    """The type of a field or of a map's value; None where nothing is known about it."""
    if node is None:
        return None
    if node.type is SchemaType.OBJECT:
        return node.fields.get(key)
    return node.items if node.type is SchemaType.MAP else None


def field_set(obj: JsonObject, schema: SchemaNode | None) -> FieldSet:
    """Every field that `obj` states. `schema` None: objects are granular, lists atomic."""
    found: set[Path] = set()
    _collect(obj, schema, (), found)
    return frozenset(found)


def _collect(value: Any, node: SchemaNode | None, path: Path, found: set[Path]) -> None:
    if path and is_atomic(value, node):
        found.add(path)
    elif isinstance(value, dict):
        if not value and path:
            found.add(path)
        for key, item in value.items():
            _collect(item, below(node, key), (*path, FIELD + key), found)
    else:
        assert node is not None  # a list is granular only by its schema
        for index, item in enumerate(value):
            item_path = (*path, item_step(item, node, index))
            found.add(item_path)
            if isinstance(item, dict):
                _collect(item, node.items, item_path, found)


def value_at(obj: JsonObject, path: Path) -> Any:
    """The value at `path`, or MISSING."""
    value: Any = obj
    for step in path:
        value = _child(value, step)
        if value is MISSING:
            return MISSING
    return value


def _child(value: Any, step: str) -> Any:
    kind, rest = step[:2], step[2:]
    if kind == FIELD:
        return value.get(rest, MISSING) if isinstance(value, dict) else MISSING
    if not isinstance(value, list):
        return MISSING
    index = _find(value, step)
    return MISSING if index is None else value[index]


@lru_cache(maxsize=4096)
def _parse_step(step: str) -> Any:
    """The keys or the value that a step names; shared, not to be changed."""
    return json.loads(step[2:])


def _find(items: list[Any], step: str) -> int | None:
    """The index of the item that `step` names."""
    wanted = _parse_step(step)
    for index, item in enumerate(items):
        if step.startswith(KEY):
            if isinstance(item, dict) and all(
                item.get(name, KEY_DEFAULTS.get(name)) == value for name, value in wanted.items()
            ):
                return index
        elif item == wanted:
            return index
    return None


def remove_path(obj: JsonObject, path: Path, kept: frozenset[Path]) -> None:
    """Remove the value at `path`, and the containers that this empties and `kept` does not name.

    `kept` holds every prefix of every path that somebody still owns.
    """
    holders: list[Any] = [obj]
    for step in path[:-1]:
        holder = _child(holders[-1], step)
        if holder is MISSING:
            return
        holders.append(holder)
    for depth in range(len(path) - 1, -1, -1):
        holder, step = holders[depth], path[depth]
        if step.startswith(FIELD):
            if isinstance(holder, dict):
                holder.pop(step[2:], None)
        elif isinstance(holder, list):
            index = _find(holder, step)
            if index is not None:
                del holder[index]
        if holder or path[:depth] in kept:
            return


def prefixes(paths: Iterable[Path]) -> frozenset[Path]:
    """Every proper and improper prefix of every path."""
    return frozenset(path[:length] for path in paths for length in range(len(path) + 1))
