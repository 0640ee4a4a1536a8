"""Drives the store, native or reference, for its tests: the one place that knows its interface."""

from __future__ import annotations

import os
import struct
from typing import Any

from google.protobuf.message import Message

from raftkv.errors import ErrorCode
from raftkv.pb.etcd import rpc_pb2

MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where a test opens many stores: the syncs of a real disk would be all that it measures."""

CLUSTER_ID, MEMBER_ID = 0xC1, 0xB1

KINDS: dict[type[Message], int] = {
    rpc_pb2.PutRequest: 1,
    rpc_pb2.DeleteRangeRequest: 2,
    rpc_pb2.TxnRequest: 3,
    rpc_pb2.CompactionRequest: 4,
    rpc_pb2.LeaseGrantRequest: 5,
    rpc_pb2.LeaseRevokeRequest: 6,
}
RESPONSES: dict[int, type[Message]] = {
    1: rpc_pb2.PutResponse,
    2: rpc_pb2.DeleteRangeResponse,
    3: rpc_pb2.TxnResponse,
    4: rpc_pb2.CompactionResponse,
    5: rpc_pb2.LeaseGrantResponse,
    6: rpc_pb2.LeaseRevokeResponse,
}


def raw_batch(commands: list[tuple[int, bytes]]) -> bytes:
    """Encode one entry's data (ARCHITECTURE.md, Batch)."""
    parts = [struct.pack("<QQI", MEMBER_ID, 1, len(commands))]
    for kind, payload in commands:
        parts += [struct.pack("<BI", kind, len(payload)), payload]
    return b"".join(parts)


def batch(*messages: Message) -> bytes:
    return raw_batch([(KINDS[type(m)], m.SerializeToString()) for m in messages])


class Driver:
    """Applies messages one entry each and parses what comes back."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def apply(self, *messages: Message) -> list[Any]:
        """Apply one entry; each answer is a parsed response or an ErrorCode."""
        answers = self.store.apply(self.store.applied_index + 1, 5, batch(*messages), True)
        parsed: list[Any] = []
        for message, answer in zip(messages, answers, strict=True):
            if isinstance(answer, int):
                parsed.append(ErrorCode(answer))
            else:
                parsed.append(RESPONSES[KINDS[type(message)]].FromString(answer))
        return parsed

    def put(self, key: bytes, value: bytes = b"", **options: Any) -> Any:
        return self.apply(rpc_pb2.PutRequest(key=key, value=value, **options))[0]

    def delete(self, key: bytes, range_end: bytes = b"", **options: Any) -> Any:
        request = rpc_pb2.DeleteRangeRequest(key=key, range_end=range_end, **options)
        return self.apply(request)[0]

    def txn(
        self,
        compare: list[rpc_pb2.Compare] | None = None,
        success: list[Message] | None = None,
        failure: list[Message] | None = None,
    ) -> Any:
        return self.apply(txn(compare, success, failure))[0]

    def compact(self, revision: int) -> Any:
        return self.apply(rpc_pb2.CompactionRequest(revision=revision))[0]

    def grant(self, lease: int, ttl: int = 60) -> Any:
        return self.apply(rpc_pb2.LeaseGrantRequest(ID=lease, TTL=ttl))[0]

    def revoke(self, lease: int) -> Any:
        return self.apply(rpc_pb2.LeaseRevokeRequest(ID=lease))[0]

    def range(self, key: bytes = b"\0", range_end: bytes = b"\0", **options: Any) -> Any:
        """Range over everything unless told; a response or an ErrorCode."""
        request = rpc_pb2.RangeRequest(key=key, range_end=range_end, **options)
        answer = self.store.range(request.SerializeToString(), 5)
        if isinstance(answer, int):
            return ErrorCode(answer)
        return rpc_pb2.RangeResponse.FromString(answer)

    def get(self, key: bytes, **options: Any) -> Any:
        """Return the KeyValue of one key, or None."""
        response = self.range(key, b"", **options)
        return response.kvs[0] if response.kvs else None

    def keys(self, **options: Any) -> list[bytes]:
        return [kv.key for kv in self.range(**options).kvs]


def op(message: Message) -> rpc_pb2.RequestOp:
    """Wrap a request for a transaction."""
    field = {
        rpc_pb2.RangeRequest: "request_range",
        rpc_pb2.PutRequest: "request_put",
        rpc_pb2.DeleteRangeRequest: "request_delete_range",
        rpc_pb2.TxnRequest: "request_txn",
    }[type(message)]
    wrapped = rpc_pb2.RequestOp()
    getattr(wrapped, field).CopyFrom(message)
    return wrapped


def txn(
    compare: list[rpc_pb2.Compare] | None = None,
    success: list[Message] | None = None,
    failure: list[Message] | None = None,
) -> rpc_pb2.TxnRequest:
    return rpc_pb2.TxnRequest(
        compare=compare or [],
        success=[op(message) for message in success or []],
        failure=[op(message) for message in failure or []],
    )
