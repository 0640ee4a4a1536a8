"""The simple format: what scripts read, byte for byte as etcdctl writes it."""

from __future__ import annotations

from collections.abc import Iterator

from raftkv.ctl.go_text import hexadecimal
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as pb


def text_of(raw: bytes, as_hex: bool) -> bytes:
    return hexadecimal(raw).encode() if as_hex else raw


def key_value(kv: kv_pb2.KeyValue, as_hex: bool, value_only: bool = False) -> Iterator[bytes]:
    """Give the key's line and the value's line."""
    if not value_only:
        yield text_of(kv.key, as_hex)
    yield text_of(kv.value, as_hex)


def range_response(
    source: pb.RangeResponse, as_hex: bool, value_only: bool = False
) -> Iterator[bytes]:
    for kv in source.kvs:
        yield from key_value(kv, as_hex, value_only)


def put_response(source: pb.PutResponse, as_hex: bool) -> Iterator[bytes]:
    yield b"OK"
    if source.HasField("prev_kv"):
        yield from key_value(source.prev_kv, as_hex)


def delete_response(source: pb.DeleteRangeResponse, as_hex: bool) -> Iterator[bytes]:
    yield b"%d" % source.deleted
    for kv in source.prev_kvs:
        yield from key_value(kv, as_hex)


def txn_response(source: pb.TxnResponse, as_hex: bool) -> Iterator[bytes]:
    """Give SUCCESS or FAILURE, then each answer after an empty line."""
    yield b"SUCCESS" if source.succeeded else b"FAILURE"
    for response in source.responses:
        yield b""
        match response.WhichOneof("response"):
            case "response_range":
                yield from range_response(response.response_range, as_hex)
            case "response_put":
                yield from put_response(response.response_put, as_hex)
            case "response_delete_range":
                yield from delete_response(response.response_delete_range, as_hex)
            case "response_txn":
                yield from txn_response(response.response_txn, as_hex)


def watch_response(source: pb.WatchResponse, as_hex: bool) -> Iterator[bytes]:
    if not source.events:
        yield b"progress notify: %d" % source.header.revision
    for event in source.events:
        yield kv_pb2.Event.EventType.Name(event.type).encode()
        if event.HasField("prev_kv"):
            yield from key_value(event.prev_kv, as_hex)
        yield from key_value(event.kv, as_hex)
