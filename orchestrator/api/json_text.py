"""JSON text made objects, with the duplicate keys that a plain parser hides."""

from __future__ import annotations

import json
from typing import Any

import orjson


class ParseError(ValueError):
    """The text is not JSON (or YAML); the message says where."""


def parse_json(data: bytes, find_duplicates: bool) -> tuple[Any, list[str]]:
    """Return the value and a text for each duplicate key; of two values the last is kept.

    Finding duplicates costs about five times the plain parse.
    """
    try:
        if not find_duplicates:
            return orjson.loads(data), []
        return _parse_with_duplicates(data)
    except RecursionError as error:
        raise ParseError("exceeded max depth") from error
    except ValueError as error:
        text = f"couldn't get version/kind; json parse error: {error}"
        raise ParseError(text) from error


def _parse_with_duplicates(data: bytes) -> tuple[Any, list[str]]:
    repeated: dict[int, list[str]] = {}
    holders: list[dict[str, Any]] = []  # keeps the ids in `repeated` alive

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) != len(items):
            keys = [key for key, _ in items]
            repeated[id(made)] = [key for key in made if keys.count(key) > 1]
            holders.append(made)
        return made

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON value")

    value = json.loads(data.decode(), object_pairs_hook=pairs, parse_constant=refuse)
    if not repeated:
        return value, []
    return value, [f'duplicate field "{path}"' for path in _paths(value, "", repeated)]


def _paths(value: Any, path: str, repeated: dict[int, list[str]]) -> list[str]:
    """The paths of repeated keys, in the order of the document."""
    found: list[str] = []
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        found += [f"{prefix}{key}" for key in repeated.get(id(value), ())]
        for key, below in value.items():
            found += _paths(below, f"{prefix}{key}", repeated)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            found += _paths(below, f"{path}[{index}]", repeated)
    return found
