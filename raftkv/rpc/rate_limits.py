"""Limits on how often users may ask and prefixes may be touched, on one member; off by default.

Counted are the unary calls of KV and Lease: not keep-alives, not watches, and not what operators
need to get out of trouble. A user is who the call's token or certificate names; without either, the
address that it comes from. A call counts for every limited prefix that one of its ranges meets,
once for each such range.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

from google.protobuf.message import DecodeError

from raftkv._native.http2 import Stream
from raftkv.errors import ERRORS, ErrorCode
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rate_limit import RateLimit, RateLimitConfig, TokenBucket

__all__ = ["RateLimits"]

UnaryHandler = Callable[[Stream, bytes], object]
KeyRange = tuple[bytes, bytes]
"""Key and range_end, as etcd means them."""

USERS_MAX = 10_000
"""Users that are counted; of one more, the one who asked longest ago is forgotten."""
TXN_DEPTH_MAX = 128
KV = "/etcdserverpb.KV/"
LEASE = "/etcdserverpb.Lease/"


class RateLimits:
    """Guards unary handlers. Used from the loop only."""

    def __init__(
        self,
        config: RateLimitConfig,
        name_of: Callable[[Stream], str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`name_of` returns the caller's user name, "" where there is none."""
        self._per_user = config.per_user
        self._name_of = name_of
        self._now = now
        self._users: OrderedDict[str, TokenBucket] = OrderedDict()
        self._prefixes = {
            prefix: TokenBucket(limit, now()) for prefix, limit in config.per_prefix.items()
        }

    def unary(self, path: str, handler: UnaryHandler) -> UnaryHandler:
        """Return a handler that refuses what is too much; the same one where nothing is limited."""
        if not path.startswith((KV, LEASE)) or not (self._per_user or self._prefixes):
            return handler
        ranges_of = RANGES.get(path.removeprefix(KV)) if self._prefixes else None

        def limited(stream: Stream, message: bytes) -> object:
            now = self._now()
            if self._per_user is not None and not self._take_user(self._per_user, stream, now):
                return stream.fail(*ERRORS[ErrorCode.REQUEST_TOO_MANY_REQUESTS])
            if ranges_of is not None and not self._take_prefixes(ranges_of, message, now):
                return stream.fail(*ERRORS[ErrorCode.REQUEST_TOO_MANY_REQUESTS])
            return handler(stream, message)

        return limited

    def _take_user(self, limit: RateLimit, stream: Stream, now: float) -> bool:
        name = self._name_of(stream) or _address(stream)
        bucket = self._users.get(name)
        if bucket is None:
            if len(self._users) >= USERS_MAX:
                self._users.popitem(last=False)
            bucket = self._users[name] = TokenBucket(limit, now)
        self._users.move_to_end(name)
        return bucket.take(1, now)

    def _take_prefixes(
        self, ranges_of: Callable[[bytes], Iterator[KeyRange]], message: bytes, now: float
    ) -> bool:
        """Take from all prefixes that are met, or from none."""
        try:
            ranges = list(ranges_of(message))
        except DecodeError:
            return True  # the handler has the right words for it
        wanted = Counter(
            prefix for one in ranges for prefix in self._prefixes if meets(one, prefix)
        )
        taken: list[tuple[bytes, int]] = []
        for prefix, count in wanted.items():
            if not self._prefixes[prefix].take(count, now):
                for earlier, given in taken:
                    self._prefixes[earlier].give_back(given)
                return False
            taken.append((prefix, count))
        return True


def meets(of: KeyRange, prefix: bytes) -> bool:
    """Say whether a range holds a key that begins with `prefix`."""
    key, range_end = of
    if key.startswith(prefix):
        return True
    if not range_end or key > prefix:
        return False
    return range_end == b"\0" or range_end > prefix


def _address(stream: Stream) -> str:
    """Return where a call comes from, without the port; a Unix socket is one address."""
    peer = stream.peer
    return f"from {peer[0]}" if isinstance(peer, tuple) else "from a Unix socket"


def _range(message: bytes) -> Iterator[KeyRange]:
    request = pb.RangeRequest.FromString(message)
    yield request.key, request.range_end


def _put(message: bytes) -> Iterator[KeyRange]:
    yield pb.PutRequest.FromString(message).key, b""


def _delete_range(message: bytes) -> Iterator[KeyRange]:
    request = pb.DeleteRangeRequest.FromString(message)
    yield request.key, request.range_end


def _txn(message: bytes) -> Iterator[KeyRange]:
    yield from _ranges_of_txn(pb.TxnRequest.FromString(message), 0)


def _ranges_of_txn(txn: pb.TxnRequest, depth: int) -> Iterator[KeyRange]:
    """List what both branches touch; which of them runs is not known yet."""
    for op in (*txn.success, *txn.failure):
        match op.WhichOneof("request"):
            case "request_range":
                yield op.request_range.key, op.request_range.range_end
            case "request_put":
                yield op.request_put.key, b""
            case "request_delete_range":
                yield op.request_delete_range.key, op.request_delete_range.range_end
            case "request_txn" if depth < TXN_DEPTH_MAX:
                yield from _ranges_of_txn(op.request_txn, depth + 1)


RANGES: dict[str, Callable[[bytes], Iterator[KeyRange]]] = {
    "Range": _range,
    "Put": _put,
    "DeleteRange": _delete_range,
    "Txn": _txn,
}
"""Which keys a method of KV touches."""
