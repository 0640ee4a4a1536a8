"""The checks of KV requests in plain Python: the specification of `mvcc_request.pyx`.

Each returns 0 or an ErrorCode (etcd `api/v3rpc/key.go`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from raftkv.errors import ErrorCode
from raftkv.pb.etcd import rpc_pb2

TXN_DEPTH_MAX = 128


def check_range(request: rpc_pb2.RangeRequest) -> int:
    if not request.key:
        return ErrorCode.EMPTY_KEY
    if not 0 <= request.sort_order <= 2 or not 0 <= request.sort_target <= 4:
        return ErrorCode.INVALID_SORT_OPTION
    return 0


def check_put(request: rpc_pb2.PutRequest) -> int:
    if not request.key:
        return ErrorCode.EMPTY_KEY
    if request.ignore_value and request.value:
        return ErrorCode.VALUE_PROVIDED
    if request.ignore_lease and request.lease:
        return ErrorCode.LEASE_PROVIDED
    return 0


def check_delete_range(request: rpc_pb2.DeleteRangeRequest) -> int:
    return 0 if request.key else ErrorCode.EMPTY_KEY


def check_op(op: rpc_pb2.RequestOp, ops_max: int, depth: int) -> int:
    match op.WhichOneof("request"):
        case "request_range":
            return check_range(op.request_range)
        case "request_put":
            return check_put(op.request_put)
        case "request_delete_range":
            return check_delete_range(op.request_delete_range)
        case "request_txn":
            return check_txn_ops(op.request_txn, ops_max, depth + 1)
        case _:
            return ErrorCode.KEY_NOT_FOUND


def check_txn_ops(request: rpc_pb2.TxnRequest, ops_max: int, depth: int) -> int:
    used = max(len(request.compare), len(request.success), len(request.failure))
    if used > ops_max or depth > TXN_DEPTH_MAX:
        return ErrorCode.TOO_MANY_OPS
    if any(not compare.key for compare in request.compare):
        return ErrorCode.EMPTY_KEY
    for op in [*request.success, *request.failure]:
        if error := check_op(op, ops_max - used, depth):
            return error
    return 0


Interval = tuple[bytes, bytes]
"""First key and end; empty when the end is not after the first key."""


def deletes_key(deletes: Sequence[Interval], key: bytes) -> bool:
    return any(start <= key < end for start, end in deletes)


def collect_writes(ops: Sequence[rpc_pb2.RequestOp]) -> tuple[set[bytes], list[Interval]] | None:
    """Return the keys that one branch puts and the intervals it deletes; None on a clash."""
    puts: set[bytes] = set()
    deletes: list[Interval] = []
    for op in ops:
        if op.HasField("request_delete_range"):
            key, end = op.request_delete_range.key, op.request_delete_range.range_end
            # As etcd: a delete without end, b"\0", clashes with no put.
            deletes.append((key, end or key + b"\0"))
    for op in ops:
        if not op.HasField("request_txn"):
            continue
        success = collect_writes(op.request_txn.success)
        failure = collect_writes(op.request_txn.failure)
        if success is None or failure is None:
            return None
        if any(key in puts or deletes_key(deletes, key) for key in success[0]):
            return None
        for key in failure[0]:
            if (key in puts and key not in success[0]) or deletes_key(deletes, key):
                return None
        puts |= success[0] | failure[0]
        deletes += success[1] + failure[1]
    for op in ops:
        if op.HasField("request_put"):
            key = op.request_put.key
            if key in puts or deletes_key(deletes, key):
                return None
            puts.add(key)
    return puts, deletes


def check_txn(request: rpc_pb2.TxnRequest, ops_max: int) -> int:
    if error := check_txn_ops(request, ops_max, 1):
        return error
    for branch in (request.success, request.failure):
        if collect_writes(branch) is None:
            return ErrorCode.DUPLICATE_KEY
    return 0


def only_ranges(request: rpc_pb2.TxnRequest) -> list[rpc_pb2.RangeRequest] | None:
    """Return the ranges of both branches, or None when one holds anything else."""
    ops = [*request.success, *request.failure]
    if not all(op.WhichOneof("request") == "request_range" for op in ops):
        return None
    return [op.request_range for op in ops]


M = TypeVar("M", bound=Message)


def parse(message: M, data: bytes) -> M | None:
    """Fill `message` from its bytes; None when they are not protobuf."""
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return message
