"""The quota: how much a member's state may hold before writes that add to it are refused.

Counted are the bytes in use, not those of the file: what compaction frees may be used again at
once. The member that would pass the quota refuses the request and arms the alarm NOSPACE through
the log; from then on every member refuses such requests, until somebody makes room and disarms it.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from google.protobuf.message import DecodeError

from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.server.alarms import Alarms
from raftkv.server.command import CommandKind

__all__ = ["Measurable", "Quota", "cost_of"]

MEASURE_INTERVAL_S = 1.0
"""How often the state is measured; what is written meanwhile may pass the quota."""

PUT_OVERHEAD_BYTES = 256
LEASE_BYTES = 64

COST_PER_BYTE_MAX = PUT_OVERHEAD_BYTES // 4 + 1
"""A put takes at least four bytes of a request, so no request costs more than this a byte.

A lease may take none: `LEASE_BYTES` are below what is left to chance anyway."""


class Measurable(Protocol):
    """What is needed of a store."""

    @property
    def table_bytes(self) -> int: ...
    def db_size(self) -> tuple[int, int]: ...


class Quota:
    """The quota of one member; 0: none. Used from the loop only."""

    def __init__(
        self, limit_bytes: int, store: Measurable, alarms: Alarms, arm: Callable[[], object]
    ) -> None:
        """`arm()` is to have this member's alarm NOSPACE armed, in its own time."""
        self._limit_bytes = limit_bytes
        self._store = store
        self._alarms = alarms
        self._arm = arm
        self._is_armed = False
        """Whether the alarm was asked for since the last measurement."""
        self._used = 0
        self._next_measure = 0.0

    def tick(self, now: float) -> None:
        """Measure the state when it is time."""
        if self._limit_bytes and now >= self._next_measure:
            self._next_measure = now + MEASURE_INTERVAL_S
            self._measure()
            self._is_armed = False

    def _measure(self) -> None:
        self._used = self._store.db_size()[1] + self._store.table_bytes

    def reserve(self, payload_bytes: int) -> bool:
        """Count puts of so many bytes in advance; False where each must be looked at."""
        if self._limit_bytes:
            if self._used + payload_bytes * COST_PER_BYTE_MAX >= self._limit_bytes:
                return False
            self._used += payload_bytes  # until it is measured again
        return True

    def refuses(self, kind: int, payload: bytes) -> bool:
        """Tell whether a command must not be proposed; at the quota, have the alarm armed."""
        if self._alarms.is_out_of_space:
            return cost_of(kind, payload) > 0
        if self._admits(kind, payload):
            return False
        if not self._is_armed:
            self._is_armed = True
            self._arm()
        return True

    def _admits(self, kind: int, payload: bytes) -> bool:
        """Tell whether a command fits. Cost: O(1) far from the limit, else O(size)."""
        limit = self._limit_bytes
        fits = not limit or self._used + len(payload) * COST_PER_BYTE_MAX < limit
        if not fits:
            self._measure()  # there may be room again
            cost = cost_of(kind, payload)
            fits = cost == 0 or self._used + cost < limit
        self._used += len(payload)  # until it is measured again
        return fits


def cost_of(kind: int, payload: bytes) -> int:
    """Return how much of the quota a command takes, in bytes; 0 for one that adds nothing.

    A transaction costs as much as the dearer of its branches, nested ones included.
    """
    try:
        match kind:
            case CommandKind.PUT:
                return _put_cost(pb.PutRequest.FromString(payload))
            case CommandKind.TXN:
                return _txn_cost(pb.TxnRequest.FromString(payload))
            case CommandKind.LEASE_GRANT:
                return LEASE_BYTES
    except DecodeError:
        return 0  # refused for another reason
    return 0


def _put_cost(put: pb.PutRequest) -> int:
    return PUT_OVERHEAD_BYTES + len(put.key) + len(put.value)


def _txn_cost(txn: pb.TxnRequest) -> int:
    return max(_branch_cost(txn.success), _branch_cost(txn.failure))


def _branch_cost(operations: Iterable[pb.RequestOp]) -> int:
    cost = 0
    for operation in operations:
        match operation.WhichOneof("request"):
            case "request_put":
                cost += _put_cost(operation.request_put)
            case "request_txn":
                cost += _txn_cost(operation.request_txn)
    return cost
