"""What a load asks for: requests of the etcd v3 API as templates with holes.

A request is built once, by protobuf, with marks where something changes from one to the next; the
marks are found in its bytes and become holes. So every kind of request is made in the same way, and
the generator copies bytes and fills digits, whatever it sends.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from functools import lru_cache

from bench.native.answer import STAMP_MAGIC
from raftkv.pb.etcd import rpc_pb2

KEY_PREFIX = b"bench/"
DIGITS = 10
KEY_BYTES = len(KEY_PREFIX) + DIGITS
VALUE_BYTES = 256
REVISION_WIDTH = 6
LEASE_WIDTH = 9
REVISION_MARK = (1 << (7 * REVISION_WIDTH)) - 3
LEASE_MARK = (1 << (7 * LEASE_WIDTH)) - 5
STAMP_ROOM = len(STAMP_MAGIC) + 8
TXN_OPS_MAX = 128

Hole = tuple[str, int, int, int]
"""(kind, offset, width, delta).

"digits": the number of the request's key plus delta, in decimal. "table": what the load's table has
for that number, as a varint padded to `width` bytes. "stamp": when the request was due.
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of request; `framed` is a gRPC message with its five bytes of frame."""

    name: str
    path: bytes
    framed: bytes
    holes: tuple[Hole, ...]
    kind: str
    """What to read of the answer: "put", "range", "txn", "keep_alive" or "other"."""
    weight: int = 1
    span: int = 1
    """How many keys, from the request's own on, one request writes."""


def key_mark(delta: int = 0, prefix: bytes = KEY_PREFIX) -> bytes:
    """Return a key whose digits become those of the request's number plus `delta`, in [0, 200)."""
    return prefix + bytes((0x80 + delta % 100, 0xF0 + delta // 100)) * (DIGITS // 2)


def key_of(number: int, prefix: bytes = KEY_PREFIX) -> bytes:
    """Return the key that a request of that number is about."""
    return prefix + b"%0*d" % (DIGITS, number)


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key after all that begin with a prefix, which does not end in 0xff."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


@lru_cache(maxsize=16)
def value_of(size: int, *, stamped: bool = False) -> bytes:
    """Return a value of that many bytes, the same each time, that no compression makes smaller."""
    if stamped and size < STAMP_ROOM:
        raise ValueError(f"a value with a stamp has at least {STAMP_ROOM} bytes")
    filler = bytes(random.Random(size).choices(range(1, 0x7F), k=size))
    return STAMP_MAGIC + bytes(8) + filler[STAMP_ROOM:] if stamped else filler


def operation(
    name: str,
    path: str,
    message: rpc_pb2.PutRequest
    | rpc_pb2.RangeRequest
    | rpc_pb2.TxnRequest
    | rpc_pb2.LeaseKeepAliveRequest,
    kind: str,
    *,
    weight: int = 1,
    span: int = 1,
    deltas: dict[int, int] | None = None,
) -> Operation:
    """Make an operation of a marked message. `deltas`: of marks that mean another one."""
    body = message.SerializeToString()
    framed = struct.pack(">BI", 0, len(body)) + body
    holes: list[Hole] = []
    for mark in range(200):
        digits = key_mark(mark)[len(KEY_PREFIX) :]
        delta = (deltas or {}).get(mark, mark)
        holes += [("digits", at, DIGITS, delta) for at in find(framed, digits)]
    for value, width in ((REVISION_MARK, REVISION_WIDTH), (LEASE_MARK, LEASE_WIDTH)):
        holes += [("table", at, width, 0) for at in find(framed, varint(value))]
    for at in find(framed, STAMP_MAGIC):
        holes.append(("stamp", at + len(STAMP_MAGIC), 8, 0))
    return Operation(name, path.encode(), framed, tuple(holes), kind, weight, span)


def find(data: bytes, mark: bytes) -> list[int]:
    """Return every offset of a mark."""
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + len(mark))
    return found


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def put(
    size: int = VALUE_BYTES,
    prefix: bytes = KEY_PREFIX,
    *,
    stamped: bool = False,
    weight: int = 1,
) -> Operation:
    request = rpc_pb2.PutRequest(key=key_mark(0, prefix), value=value_of(size, stamped=stamped))
    return operation("put", "/etcdserverpb.KV/Put", request, "put", weight=weight)


def get(*, serializable: bool = False, weight: int = 1) -> Operation:
    request = rpc_pb2.RangeRequest(key=key_mark(), serializable=serializable)
    return operation("range", "/etcdserverpb.KV/Range", request, "range", weight=weight)


def range_of(keys: int) -> Operation:
    """A range of `keys` neighbours, linearizable."""
    request = rpc_pb2.RangeRequest(key=key_mark(), range_end=key_mark(1))
    return operation("range", "/etcdserverpb.KV/Range", request, "range", deltas={1: keys})


def page(limit: int, revision: int, prefix: bytes) -> Operation:
    """A page of a list, as kube-apiserver reads them: to the end of the prefix, at one revision."""
    request = rpc_pb2.RangeRequest(
        key=key_mark(0, prefix), range_end=prefix_end(prefix), limit=limit, revision=revision
    )
    return operation("page", "/etcdserverpb.KV/Range", request, "range")


def update(size: int, prefix: bytes) -> Operation:
    """A transaction as kube-apiserver writes: put if the revision is the known one, else get."""
    request = rpc_pb2.TxnRequest()
    compare = request.compare.add(key=key_mark(0, prefix), mod_revision=REVISION_MARK)
    compare.target = rpc_pb2.Compare.MOD
    request.success.add().request_put.CopyFrom(
        rpc_pb2.PutRequest(key=key_mark(0, prefix), value=value_of(size))
    )
    request.failure.add().request_range.CopyFrom(rpc_pb2.RangeRequest(key=key_mark(0, prefix)))
    return operation("txn", "/etcdserverpb.KV/Txn", request, "txn")


def fill(keys: int, size: int, prefix: bytes = KEY_PREFIX) -> Operation:
    """A transaction that puts `keys` neighbours: how a store is filled."""
    if not 1 <= keys <= TXN_OPS_MAX:
        raise ValueError(f"a transaction has 1 to {TXN_OPS_MAX} operations")
    request = rpc_pb2.TxnRequest()
    for delta in range(keys):
        put = rpc_pb2.PutRequest(key=key_mark(delta, prefix), value=value_of(size))
        request.success.add().request_put.CopyFrom(put)
    return operation("fill", "/etcdserverpb.KV/Txn", request, "txn", span=keys)


def keep_alive() -> Operation:
    """A renewal of the lease that the load's table has for the number."""
    request = rpc_pb2.LeaseKeepAliveRequest(ID=LEASE_MARK)
    return operation("keep_alive", "/etcdserverpb.Lease/LeaseKeepAlive", request, "keep_alive")


def watch_stream(creates: list[rpc_pb2.WatchCreateRequest]) -> bytes:
    """Frame what opens several watches on one stream."""
    framed = b""
    for create in creates:
        body = rpc_pb2.WatchRequest(create_request=create).SerializeToString()
        framed += struct.pack(">BI", 0, len(body)) + body
    return framed
