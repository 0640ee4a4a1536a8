"""JSON patch, RFC 6902, with the limits and refusals of the API server."""

from __future__ import annotations

from typing import Any

from orchestrator.api.errors import StatusError, bad_request, too_large
from orchestrator.api.json_object import JsonObject, copy_json

OPERATIONS_MAX = 10_000
COPIED_VALUES_MAX = 100_000
"""JSON values that all `copy` operations of one patch may make, so that none explodes."""

_MISSING = object()


class _PatchError(ValueError):
    """The patch does not fit the object."""


def apply_json_patch(obj: JsonObject, patch: Any) -> JsonObject:
    """Return a copy of `obj` after every operation of `patch`, or raise and change nothing.

    StatusError 400 (not a patch), 413 (too many operations) or 422 (an operation that does not
    fit, a failed `test` among them).
    """
    if not isinstance(patch, list) or not all(isinstance(row, dict) for row in patch):
        raise bad_request("error decoding patch: not a list of operations")
    if len(patch) > OPERATIONS_MAX:
        text = (
            f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(patch)}"
        )
        raise too_large(text)
    document = _Document(copy_json(obj))
    for row in patch:
        try:
            document.apply(row)
        except _PatchError as error:
            raise _unprocessable(str(error)) from error
    if not isinstance(document.root, dict):
        raise _unprocessable("the result is not an object")
    return document.root


def _unprocessable(text: str) -> StatusError:
    """422 with no kind, name or cause: beside those, kubectl does not show the message."""
    message = f"the server rejected our request due to an error in our request: {text}"
    return StatusError(422, "Invalid", message, {})


class _Document:
    """A JSON value that is changed one operation at a time."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.copied_values = 0

    def apply(self, row: JsonObject) -> None:
        path = _pointer(row, "path")
        match row.get("op"):
            case "add":
                self.add(path, _value(row))
            case "remove":
                self.remove(path)
            case "replace":
                value = _value(row)
                self.get(path)
                self.replace(path, value)
            case "move":
                source = _pointer(row, "from")
                if path[: len(source)] == source and len(path) > len(source):
                    raise _PatchError("a value cannot be moved into itself")
                value = self.get(source)
                self.remove(source)
                self.add(path, value)
            case "copy":
                value = self.get(_pointer(row, "from"))
                self.copied_values += _count(value)
                if self.copied_values > COPIED_VALUES_MAX:
                    raise _PatchError("the accumulated size of copy operations is too large")
                self.add(path, copy_json(value))
            case "test":
                if not _equal(self.find(path), row.get("value")):
                    raise _PatchError(f"testing value {row.get('path')} failed: test failed")
            case operation:
                raise _PatchError(f"unexpected kind of operation: {operation}")

    def find(self, path: list[str]) -> Any:
        """The value at `path`; None where there is none, as a `test` for null expects."""
        try:
            return self.get(path)
        except _PatchError:
            return None

    def get(self, path: list[str]) -> Any:
        value = self.root
        for key in path:
            value = _step(value, key)
            if value is _MISSING:
                raise _PatchError(f"path /{'/'.join(path)} does not exist: missing value")
        return value

    def add(self, path: list[str], value: Any) -> None:
        if not path:
            self.root = value
            return
        holder = self.get(path[:-1])
        key = path[-1]
        if isinstance(holder, dict):
            holder[key] = value
        elif isinstance(holder, list):
            index = len(holder) if key == "-" else _index(key, len(holder) + 1)
            holder.insert(index, value)
        else:
            raise _PatchError(f"path /{'/'.join(path)} does not exist: not a container")

    def replace(self, path: list[str], value: Any) -> None:
        if not path:
            self.root = value
            return
        holder = self.get(path[:-1])
        if isinstance(holder, list):
            holder[_index(path[-1], len(holder))] = value
        else:
            holder[path[-1]] = value

    def remove(self, path: list[str]) -> None:
        if not path:
            raise _PatchError("the whole document cannot be removed")
        holder = self.get(path[:-1])
        if _step(holder, path[-1]) is _MISSING:
            raise _PatchError(f"unable to remove nonexistent key: {path[-1]}: missing value")
        if isinstance(holder, list):
            del holder[_index(path[-1], len(holder))]
        else:
            del holder[path[-1]]


def _pointer(row: JsonObject, name: str) -> list[str]:
    text = row.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _PatchError(f"operation has no valid {name!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _value(row: JsonObject) -> Any:
    if "value" not in row:
        raise _PatchError("operation has no 'value'")
    return copy_json(row["value"])


def _step(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key, _MISSING)
    if isinstance(value, list):
        return value[_index(key, len(value))]
    return _MISSING


def _index(key: str, size: int) -> int:
    """Read an index in [0, size)."""
    if not (key.isascii() and key.isdigit()) or (len(key) > 1 and key[0] == "0"):
        raise _PatchError(f"invalid index {key!r}")
    if int(key) >= size:
        raise _PatchError(f"index {key} is out of bounds")
    return int(key)


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_count, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(_count, value))
    return 1


def _equal(left: Any, right: Any) -> bool:
    """Equal as JSON values: `true` is not `1`."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)
