"""The form in which Kubernetes objects travel through this program: plain JSON dictionaries."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]
"""A JSON object; keys are the API's camelCase names, absent fields are absent keys."""


def nested(obj: JsonObject, *path: str) -> Any:
    """Return the value at `path`, or None where any step is absent or not an object."""
    value: Any = obj
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def nested_object(obj: JsonObject, *path: str) -> JsonObject:
    """Return the object at `path`, or an empty one that is not attached where there is none."""
    value = nested(obj, *path)
    return value if isinstance(value, dict) else {}


def nested_list(obj: JsonObject, *path: str) -> list[Any]:
    """Return the list at `path`, or an empty one that is not attached where there is none."""
    value = nested(obj, *path)
    return value if isinstance(value, list) else []


def ensure_object(obj: JsonObject, *path: str) -> JsonObject:
    """Return the object at `path`, creating every step that is absent or null."""
    value = obj
    for key in path:
        below = value.get(key)
        if below is None:
            below = value[key] = {}
        value = below
    return value


def set_default(obj: JsonObject, key: str, value: Any) -> None:
    """Set `key` where it is absent or null, as a decoded Go pointer would be defaulted."""
    if obj.get(key) is None:
        obj[key] = value


def set_default_text(obj: JsonObject, key: str, value: str) -> None:
    """Set `key` where it is absent, null or "", as a decoded Go string would be defaulted."""
    if not obj.get(key):
        obj[key] = value


def copy_json(value: Any) -> Any:
    """Return a deep copy of a JSON value; about five times as quick as `copy.deepcopy`."""
    if isinstance(value, dict):
        return {key: copy_json(below) for key, below in value.items()}
    if isinstance(value, list):
        return [copy_json(below) for below in value]
    return value


def go_type_name(value: Any) -> str:
    """Name the JSON type of `value` as Go's decoder does in its error texts."""
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"
