"""How much time leases have left, as it travels in the log and lies in the store.

A command is a sequence of `i64 lease id, i64 milliseconds left` (little-endian), where -1 is for a
lease that is renewed at will. In the store, a small record `lease/<id>` holds the milliseconds that
a settled lease had left when that was last written down. Both are rounded up: no lease ends early.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from math import ceil

from raftkv._native.command_batch import CommandBatch
from raftkv.lease.lessor import RENEWED
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.raft.errors import NotLeader, ProposalDropped
from raftkv.raft.node import RaftNode
from raftkv.server.auth_stamp import BY_MEMBER_STAMP
from raftkv.server.command import CommandKind, NobodyWaits
from raftkv.server.proposals import Proposals

__all__ = ["LeaseLog", "Terms", "decode", "encode", "key_of", "stored", "value_of"]

KEY = b"lease/"
_TERM = struct.Struct("<qq")

Terms = list[tuple[int, float]]
"""(lease id, seconds left or RENEWED)."""


def encode(terms: Terms) -> bytes:
    """Return the payload of a command."""
    return b"".join(
        _TERM.pack(lease_id, -1 if left_s == RENEWED else ceil(left_s * 1000))
        for lease_id, left_s in terms
    )


def decode(payload: bytes) -> Terms:
    """Read what `encode` made. Raises ValueError for anything else."""
    if len(payload) % _TERM.size:
        raise ValueError(f"{len(payload)} bytes are no terms of leases")
    return [
        (lease_id, RENEWED if left_ms < 0 else left_ms / 1000)
        for lease_id, left_ms in _TERM.iter_unpack(payload)
    ]


def key_of(lease_id: int) -> bytes:
    """Return where the store keeps what a lease has left."""
    return KEY + b"%016x" % (lease_id & 0xFFFF_FFFF_FFFF_FFFF)


def value_of(left_s: float) -> bytes | None:
    """Return what the store keeps: nothing for a lease that is renewed at will."""
    return None if left_s == RENEWED else b"%d" % ceil(left_s * 1000)


def stored(rows: Mapping[bytes, bytes], lease_id: int) -> float:
    """Return the seconds left that the store has of a lease, else RENEWED."""
    value = rows.get(key_of(lease_id))
    return RENEWED if value is None else int(value) / 1000


class LeaseLog:
    """Proposes what a leader decides of leases, as the leader of this term or not at all.

    Not by way of clients' proposals, which go to whoever leads: a member that was paused and has
    not heard of its successor would have leases revoked that live by the successor's clock.
    """

    def __init__(self, node: RaftNode, proposals: Proposals, wake: Callable[[], object]) -> None:
        self._node = node
        self._proposals = proposals
        self._wake = wake

    def revoke(self, lease_ids: Iterable[int]) -> bool:
        """Have leases revoked; False where that certainly does not happen."""
        batch = CommandBatch()
        if self._proposals.is_stamped:
            batch.add(CommandKind.AUTH_STAMP, BY_MEMBER_STAMP, NobodyWaits())
        for lease_id in lease_ids:
            request = pb.LeaseRevokeRequest(ID=lease_id).SerializeToString()
            batch.add(CommandKind.LEASE_REVOKE, request, NobodyWaits())
        return self._propose(batch)

    def put(self, terms: Terms) -> bool:
        """Have everybody know what leases have left; False where that certainly does not happen."""
        batch = CommandBatch()
        batch.add(CommandKind.LEASE_TERMS, encode(terms), NobodyWaits())
        return self._propose(batch)

    def _propose(self, batch: CommandBatch) -> bool:
        try:
            self._node.propose(batch.seal(self._node.id, self._proposals.take_id()))
        except (NotLeader, ProposalDropped):
            return False
        self._wake()
        return True
