"""Bring a decoded object into the form of its schema, as decoding it into a Go struct would.

Types are checked, unknown fields found and dropped, nulls dropped, quantities and times brought
into their canonical form.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from orchestrator.api import quantity
from orchestrator.api.json_object import go_type_name
from orchestrator.api.schema import SchemaNode, SchemaType
from orchestrator.api.times import format_micro_time, format_time, parse_time

DEPTH_MAX = 1000
"""Nested objects and lists in one body; schemas of JSON schemas are the only deep ones."""

_INTEGER_LIMITS = {"int32": 2**31, "int64": 2**63, "": 2**63}


class ConformError(ValueError):
    """The object is not of its type; the text is the decoder's."""


def conform(obj: dict[str, Any], node: SchemaNode) -> list[str]:
    """Change `obj` in place to the form of `node`; return the paths of fields that it has not.

    ConformError where a value has the wrong type. Cost: linear in the object.
    """
    unknown: list[str] = []
    _struct(obj, node, "", "", unknown, 0)
    return unknown


def _struct(
    obj: dict[str, Any], node: SchemaNode, path: str, go_path: str, unknown: list[str], depth: int
) -> None:
    if depth > DEPTH_MAX:
        raise ConformError("exceeded max depth")
    fields = node.fields
    dropped = []
    for key, value in obj.items():
        below = fields.get(key)
        if below is None:
            unknown.append(f"{path}{key}")
            dropped.append(key)
        elif value is None:
            dropped.append(key)
        else:
            go_below = f"{go_path}.{key}" if go_path else key
            obj[key] = _value(value, below, f"{path}{key}", (node, go_below), unknown, depth)
    for key in dropped:
        del obj[key]


_Site = tuple[SchemaNode, str]
"""The struct that holds the value, and the path of field names to it, for error texts."""


def _value(
    value: Any, node: SchemaNode, path: str, site: _Site, unknown: list[str], depth: int
) -> Any:
    match node.type:
        case SchemaType.STRING:
            if not isinstance(value, str):
                raise _wrong(value, node, site)
        case SchemaType.OBJECT:
            if not isinstance(value, dict):
                raise _wrong(value, node, site)
            _struct(value, node, f"{path}.", site[1], unknown, depth + 1)
        case SchemaType.LIST:
            if not isinstance(value, list):
                raise _wrong(value, node, site)
            items = node.items
            for index, item in enumerate(value):
                item_path = f"{path}[{index}]"
                value[index] = _item(item, items, item_path, site, unknown, depth + 1)
        case SchemaType.MAP:
            if not isinstance(value, dict):
                raise _wrong(value, node, site)
            items = node.items
            for key, item in value.items():
                value[key] = _item(item, items, f"{path}.{key}", site, unknown, depth + 1)
        case _:
            return _scalar(value, node, site)
    return value


def _item(
    value: Any, node: SchemaNode, path: str, site: _Site, unknown: list[str], depth: int
) -> Any:
    """Conform an item of a list or map, where null is the zero value of its type."""
    if value is None:
        match node.type:
            case SchemaType.STRING | SchemaType.BYTES:
                return ""
            case SchemaType.OBJECT | SchemaType.MAP:
                return {}
            case SchemaType.QUANTITY:
                return "0"
            case _:
                return None
    return _value(value, node, path, site, unknown, depth)


def _scalar(value: Any, node: SchemaNode, site: _Site) -> Any:
    match node.type:
        case SchemaType.INTEGER:
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if isinstance(value, bool) or not isinstance(value, int):
                raise _wrong(value, node, site)
            limit = _INTEGER_LIMITS.get(node.format, 2**63)
            if not -limit <= value < limit:
                raise _wrong(value, node, site)
        case SchemaType.NUMBER:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise _wrong(value, node, site)
        case SchemaType.BOOLEAN:
            if not isinstance(value, bool):
                raise _wrong(value, node, site)
        case SchemaType.BYTES:
            _check_bytes(value, node, site)
        case SchemaType.QUANTITY:
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise _wrong(value, node, site)
            try:
                return quantity.canonical(value)
            except quantity.QuantityError as error:
                raise ConformError(str(error)) from error
        case SchemaType.INT_OR_STRING:
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                raise _wrong(value, node, site)
        case SchemaType.TIME | SchemaType.MICRO_TIME:
            return _time(value, node, site)
        case _:
            pass
    return value


def _check_bytes(value: Any, node: SchemaNode, site: _Site) -> None:
    if not isinstance(value, str):
        raise _wrong(value, node, site)
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConformError(f"illegal base64 data at input byte {_bad_byte(value)}") from error


def _bad_byte(text: str) -> int:
    for index, sign in enumerate(text):
        if not (sign.isascii() and (sign.isalnum() or sign in "+/=")):
            return index
    return max(len(text) - len(text) % 4, 0)


def _time(value: Any, node: SchemaNode, site: _Site) -> str:
    if not isinstance(value, str):
        raise _wrong(value, node, site)
    try:
        moment = parse_time(value)
    except ValueError as error:
        layout = "2006-01-02T15:04:05Z07:00"
        raise ConformError(
            f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"'
        ) from error
    return format_time(moment) if node.type is SchemaType.TIME else format_micro_time(moment)


def _wrong(value: Any, node: SchemaNode, site: _Site) -> ConformError:
    struct, go_path = site
    name = go_type_name(value)
    if name == "number" and node.type is SchemaType.INTEGER:
        name = f"number {value}"
    return ConformError(
        f"json: cannot unmarshal {name} into Go struct field "
        f"{struct.struct}.{go_path} of type {node.go_type}"
    )
