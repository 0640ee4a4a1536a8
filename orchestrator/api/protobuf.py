"""Kubernetes' protobuf bodies made JSON objects.

A body is the four bytes `k8s` NUL and a `runtime.Unknown`, whose `raw` is the object's message.
Go's encoder always sends fields that are not pointers, so an empty one means nothing and is
dropped; `(nullable)` fields in `proto/kubernetes` are pointers, whose empty values are kept.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from orchestrator.api.errors import StatusError, bad_request, quote
from orchestrator.api.json_object import JsonObject
from orchestrator.api.times import format_micro_time, format_time

MAGIC = b"k8s\x00"

_MODULES = {
    "v1": ("core", "pod", "volume"),
    "apps/v1": ("apps",),
    "authentication.k8s.io/v1": ("authentication",),
    "authorization.k8s.io/v1": ("authorization",),
    "autoscaling/v1": ("autoscaling",),
    "autoscaling/v2": ("autoscaling_v2",),
    "batch/v1": ("batch",),
    "certificates.k8s.io/v1": ("certificates",),
    "coordination.k8s.io/v1": ("coordination",),
    "discovery.k8s.io/v1": ("discovery",),
    "events.k8s.io/v1": ("events",),
    "networking.k8s.io/v1": ("networking",),
    "policy/v1": ("policy",),
    "rbac.authorization.k8s.io/v1": ("rbac",),
    "scheduling.k8s.io/v1": ("scheduling",),
    "storage.k8s.io/v1": ("storage",),
}
"""`apiVersion` -> the generated modules that hold its kinds."""

_META_KINDS = ("CreateOptions", "DeleteOptions", "PatchOptions", "Status", "UpdateOptions")
"""Kinds of `meta` that every group version has."""


def _module(name: str) -> Any:
    return import_module(f"orchestrator.pb.kubernetes.{name}_pb2")


@cache
def _message_class(api_version: str, kind: str) -> type[Message] | None:
    names = ("meta",) if kind in _META_KINDS else _MODULES.get(api_version, ())
    for name in names:
        found: type[Message] | None = getattr(_module(name), kind, None)
        if found is not None:
            return found
    return None


def decode_protobuf(data: bytes, api_version: str, kind: str) -> JsonObject:
    """Read a body; `api_version` and `kind` stand in where it does not name its own.

    StatusError 400 where it is malformed or of a kind without a message here. Fields newer than
    our messages are dropped, as Go's decoder drops them.
    """
    if not data.startswith(MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message")
    unknown = _parse(_module("meta").Unknown, data[len(MAGIC) :])
    api_version = unknown.typeMeta.apiVersion or api_version
    kind = unknown.typeMeta.kind or kind
    made = _message_class(api_version, kind)
    if made is None:
        text = f"no kind {quote(kind)} is registered for version {quote(api_version)}"
        raise bad_request(f"{text} in protobuf; send JSON")
    obj = _object(_parse(made, unknown.raw))
    return {"apiVersion": api_version, "kind": kind, **obj}


def _parse(made: Any, data: bytes) -> Any:
    try:
        return made.FromString(data)
    except DecodeError as error:
        raise _malformed(str(error)) from error


def _malformed(text: str) -> StatusError:
    return bad_request(f"could not decode protobuf: {text}")


_DROP = object()
"""What a converter returns for a value that means nothing."""

Converter = Callable[[Any], Any]


class _Field:
    """How one field of a message becomes JSON."""

    __slots__ = ("convert", "inline", "is_map", "is_repeated", "name", "nullable")

    def __init__(self, field: FieldDescriptor) -> None:
        options = field.GetOptions()
        extensions = _module("options")
        self.name: str = field.json_name
        self.nullable: bool = options.Extensions[extensions.nullable]
        self.inline: bool = options.Extensions[extensions.inline]
        message: Descriptor | None = field.message_type
        self.is_map = message is not None and message.GetOptions().map_entry
        self.is_repeated = bool(field.is_repeated) and not self.is_map
        if self.is_map and message is not None:
            field = message.fields_by_name["value"]
        self.convert = _converter(field)


@cache
def _fields(descriptor: Descriptor) -> dict[int, _Field]:
    return {field.number: _Field(field) for field in descriptor.fields}


def _object(message: Any) -> JsonObject:
    made: JsonObject = {}
    fields = _fields(message.DESCRIPTOR)
    for descriptor, value in message.ListFields():
        field = fields[descriptor.number]
        if field.is_map:
            # A protobuf map may look up a message by creating it; items() does not.
            made[field.name] = {key: field.convert(below) for key, below in value.items()}
        elif field.is_repeated:
            made[field.name] = [field.convert(item) for item in value]
        else:
            converted = field.convert(value)
            if field.inline:
                made.update(converted)
            elif converted is not _DROP and (field.nullable or not _is_empty(converted)):
                made[field.name] = converted
    return made


def _is_empty(value: Any) -> bool:
    return value is False or value in ("", 0) or value == {}


def _converter(field: FieldDescriptor) -> Converter:
    if field.message_type is not None:
        return _SPECIAL.get(field.message_type.full_name, _object)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    return lambda value: value


def _time(message: Any) -> Any:
    if not message.seconds and not message.nanos:
        return _DROP
    return format_time(_moment(message))


def _micro_time(message: Any) -> Any:
    if not message.seconds and not message.nanos:
        return _DROP
    return format_micro_time(_moment(message))


def _moment(message: Any) -> datetime:
    try:
        epoch = datetime.fromtimestamp(0, UTC)
        return epoch + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError as error:
        raise _malformed("a time is out of range") from error


def _int_or_string(message: Any) -> Any:
    return message.strVal if message.type == 1 else message.intVal


def _raw(data: bytes) -> Any:
    if not data:
        return _DROP
    try:
        return orjson.loads(data)
    except ValueError as error:
        raise _malformed("an embedded object is not JSON") from error


_SPECIAL: dict[str, Converter] = {
    "kubernetes.meta.Quantity": lambda message: message.string or "0",
    "kubernetes.meta.Time": _time,
    "kubernetes.meta.MicroTime": _micro_time,
    "kubernetes.meta.IntOrString": _int_or_string,
    "kubernetes.meta.RawExtension": lambda message: _raw(message.raw),
    "kubernetes.meta.FieldsV1": lambda message: _raw(message.Raw),
    "kubernetes.authentication.ExtraValue": lambda message: list(message.items),
    "kubernetes.authorization.ExtraValue": lambda message: list(message.items),
}
"""Messages that are no objects in JSON."""
