"""The gateway's dialect of JSON: protobuf messages as etcd's own gateway writes and reads them.

Written: field names as in the schema, fields without a value left out, bytes as base64, 64-bit
integers as strings, enums by name. Read: that, and camelCase names, enums by number, integers as
numbers, base64 of both alphabets with or without padding; null is no value; unknown fields are
ignored.
Sources: the protobuf guide's "ProtoJSON Format"; etcd's API gateway.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

__all__ = ["JsonError", "decode", "encode"]

DEPTH_MAX = 100
"""Messages within messages; protobuf's own bound."""

Value = Any
"""A value as `json` makes it."""

_INTEGERS: dict[int, tuple[int, int]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_AS_STRING = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_STANDARD, _URL_SAFE = re.compile(r"[+/]"), re.compile(r"[_-]")
_NUMBER = re.compile(r"-?\d{1,20}")


class JsonError(Exception):
    """The text is not JSON, or not the message's; the exception's text says what and where."""


def encode(message: Message) -> bytes:
    """Return a message as compact JSON."""
    return orjson.dumps(_to_value(message))


def decode(text: bytes, message_type: type[Message]) -> Message:
    """Read one message; an empty text is an empty message. Raises JsonError."""
    message = message_type()
    if text.strip():
        _fill(message, _parse(text), "", 0)
    return message


def _parse(text: bytes) -> Value:
    try:
        # What follows the first value is ignored, as in etcd.
        return _PARSER.raw_decode(text.decode().lstrip(" \t\r\n"))[0]
    except UnicodeDecodeError:
        raise JsonError("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated"):
            raise JsonError("unexpected EOF") from None
        raise JsonError(f"invalid JSON: {error}") from None
    except (ValueError, RecursionError) as error:
        raise JsonError(f"invalid JSON: {error}") from None


def _refuse_constant(name: str) -> Value:
    raise ValueError(f"{name} is not a value")


_PARSER = json.JSONDecoder(parse_constant=_refuse_constant)


# Writing.


@lru_cache(maxsize=512)
def _plan(descriptor: Descriptor) -> dict[str, tuple[FieldDescriptor, Callable[[Value], Value]]]:
    return {field.name: (field, _writer(field)) for field in descriptor.fields}


def _writer(field: FieldDescriptor) -> Callable[[Value], Value]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return _to_value
    if field.cpp_type in _AS_STRING:
        return str
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        assert field.enum_type is not None
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda value: names.get(value, value)
    return lambda value: value


def _to_value(message: Message) -> dict[str, Value]:
    plan = _plan(message.DESCRIPTOR)
    result = {}
    for field, value in message.ListFields():
        write = plan[field.name][1]
        result[field.name] = [write(one) for one in value] if field.is_repeated else write(value)
    return result


# Reading.


@lru_cache(maxsize=512)
def _fields_by_name(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    names = {field.camelcase_name: field for field in descriptor.fields}
    names.update({field.json_name: field for field in descriptor.fields})
    return {**names, **{field.name: field for field in descriptor.fields}}


def _fill(message: Message, value: Value, where: str, depth: int) -> None:
    if not isinstance(value, dict):
        raise JsonError(f"{where or 'the body'}: want an object, not {_kind(value)}")
    if depth >= DEPTH_MAX:
        raise JsonError(f"more than {DEPTH_MAX} objects within each other")
    fields = _fields_by_name(message.DESCRIPTOR)
    for name, content in value.items():
        field = fields.get(name)
        if field is None or content is None:
            continue
        if not field.is_repeated:
            _set(message, field, content, f"{where}{name}", depth)
        elif isinstance(content, list):
            _extend(message, field, content, f"{where}{name}", depth)
        else:
            raise JsonError(f"{where}{name}: want an array, not {_kind(content)}")


def _set(message: Message, field: FieldDescriptor, value: Value, where: str, depth: int) -> None:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        part = getattr(message, field.name)
        part.SetInParent()
        _fill(part, value, f"{where}.", depth + 1)
    else:
        setattr(message, field.name, _scalar(field, value, where))


def _extend(
    message: Message, field: FieldDescriptor, values: list[Value], where: str, depth: int
) -> None:
    target = getattr(message, field.name)
    for place, value in enumerate(values):
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            _fill(target.add(), value, f"{where}[{place}].", depth + 1)
        else:
            target.append(_scalar(field, value, f"{where}[{place}]"))


def _scalar(field: FieldDescriptor, value: Value, where: str) -> Value:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes(value, where)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if isinstance(value, str) and _is_unicode(value):
            return value
        raise JsonError(f"{where}: want a string, not {_kind(value)}")
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if isinstance(value, bool):
            return value
        raise JsonError(f"{where}: want true or false, not {_kind(value)}")
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return _enum(field, value, where)
    if field.cpp_type in _INTEGERS:
        return _integer(value, *_INTEGERS[field.cpp_type], where)
    raise JsonError(f"{where}: a field of this type is not supported")


def _bytes(value: Value, where: str) -> bytes:
    if not isinstance(value, str):
        raise JsonError(f"{where}: want base64, not {_kind(value)}")
    content = value.replace("\n", "").replace("\r", "")
    bare = content.rstrip("=")
    padded = len(content) != len(bare)
    if (
        not _BASE64.fullmatch(content)
        or len(bare) % 4 == 1
        or (padded and len(content) % 4)
        or (_URL_SAFE.search(bare) and _STANDARD.search(bare))
    ):
        raise JsonError(f"{where}: illegal base64 data")
    try:
        return base64.urlsafe_b64decode(
            bare.replace("+", "-").replace("/", "_") + "=" * (-len(bare) % 4)
        )
    except binascii.Error:
        raise JsonError(f"{where}: illegal base64 data") from None


def _integer(value: Value, lowest: int, highest: int, where: str) -> int:
    is_whole = isinstance(value, float) and math.isfinite(value) and value.is_integer()
    if is_whole or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise JsonError(f"{where}: want a whole number, not {_kind(value)}")
    if not lowest <= value <= highest:
        raise JsonError(f"{where}: the number is out of range")
    return value


def _enum(field: FieldDescriptor, value: Value, where: str) -> int:
    assert field.enum_type is not None
    if isinstance(value, str):
        named = field.enum_type.values_by_name.get(value)
        if named is None:
            raise JsonError(
                f'{where}: unknown value "{value[:60]}" for enum {field.enum_type.full_name}'
            )
        return int(named.number)
    return _integer(value, -(1 << 31), (1 << 31) - 1, where)


def _is_unicode(value: str) -> bool:
    """Tell whether a string can be UTF-8: JSON can escape half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _kind(value: Value) -> str:
    match value:
        case bool():
            return "a boolean"
        case str():
            return "this string"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case dict():
            return "an object"
    return "null"
