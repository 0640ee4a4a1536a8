"""`-w json`: the API's messages as etcdctl writes them, field for field and in its order."""

from __future__ import annotations

import base64
import json
from typing import TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from raftkv.pb.etcd import rpc_pb2 as pb

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def text(value: Json) -> str:
    """Write a value as Go's encoder does: no spaces, and `<`, `>`, `&` escaped."""
    plain = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def message(source: Message) -> dict[str, Json]:
    """Give a message's fields that are set, in order of their numbers, bytes in base64.

    The members of a oneof go into an object of their own, named after it, as in Go.
    """
    out: dict[str, Json] = {}
    for field, value in sorted(source.ListFields(), key=lambda item: item[0].number):
        if field.containing_oneof is not None:
            out[field.containing_oneof.name.capitalize()] = {field.name: _value(field, value)}
        elif field.is_repeated:
            out[field.name] = [_value(field, item) for item in value]
        else:
            out[field.name] = _value(field, value)
    return out


def _value(field: FieldDescriptor, value: object) -> Json:
    match value:
        case Message():
            return message(value)
        case bytes():
            return base64.b64encode(value).decode()
        case str() | bool() | int() | float():
            return value
        case _:
            raise TypeError(f"field {field.name} holds a {type(value).__name__}")


def header(source: pb.ResponseHeader) -> dict[str, Json]:
    """Give a header's fields, for the answers that clientv3 flattens them into."""
    return message(source)


def with_hex_ids(value: Json) -> Json:
    """Write the member and cluster ids of a decoded answer in hexadecimal (--hex)."""
    match value:
        case dict():
            return {
                key: f"{inner:x}"
                if key in ("cluster_id", "member_id", "ID") and isinstance(inner, int)
                else with_hex_ids(inner)
                for key, inner in value.items()
            }
        case list():
            return [with_hex_ids(inner) for inner in value]
        case _:
            return value


def watch(response: pb.WatchResponse) -> dict[str, Json]:
    """Give a watch answer as clientv3's own struct is written."""
    return {
        "Header": message(response.header),
        "Events": [message(event) for event in response.events],
        "CompactRevision": response.compact_revision,
        "Canceled": response.canceled,
        "Created": response.created,
    }
