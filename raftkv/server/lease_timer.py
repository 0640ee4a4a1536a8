"""Leases in time: expiry and keep-alive at the leader, forwarding at everybody else."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from raftkv.errors import ErrorCode, StoreError
from raftkv.lease.lessor import Lessor
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.peer.errors import PeerError
from raftkv.peer.transport import PeerTransport

__all__ = ["RENEW", "TIME_TO_LIVE", "LeaseTimer"]

RENEW, TIME_TO_LIVE = "lease-renew", "lease-time-to-live"
"""Kinds of request between members: a lease id in, remaining and granted seconds out."""

EXPIRY_INTERVAL_S = 0.5
RETRY_S = 0.05
_ID = struct.Struct("<q")
_TIMES = struct.Struct("<qq")


class Leading(Protocol):
    """What the timer needs to know of the Raft node."""

    @property
    def id(self) -> int: ...
    @property
    def leader_id(self) -> int: ...


class LeaseTimer:
    """Times the leases of one member. Used from the loop only.

    `revoke(lease_ids)` is called with leases whose time is up, to be revoked through the log.
    `confirm()` returns once a quorum has said, after the call, who leads: a leader that was paused
    or cut off must not renew leases that its successor times.
    """

    def __init__(
        self,
        node: Leading,
        transport: PeerTransport,
        revoke: Callable[[list[int]], None],
        *,
        ttl_min_s: int,
        confirm: Callable[[], Awaitable[None]],
        request_timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.lessor = Lessor(ttl_min_s)
        self.expired_count = 0
        self.renewed_count = 0
        self._node = node
        self._transport = transport
        self._revoke = revoke
        self._confirm = confirm
        self._timeout_s = request_timeout_s
        self._clock = clock
        self._next_expiry = 0.0

    def take_changes(self, changes: Iterable[tuple[str, int, int]]) -> None:
        """Take note of leases that were granted or revoked by applied commands."""
        now = self._clock()
        for what, lease_id, ttl_s in changes:
            if what == "grant":
                self.lessor.granted(lease_id, ttl_s, now)
            else:
                self.lessor.revoked(lease_id)

    def lead(self, extension_s: float) -> None:
        """Begin to time leases: everything before this member's own term is applied."""
        self.lessor.promote(self._clock(), extension_s)

    def follow(self) -> None:
        """Stop timing leases."""
        if self.lessor.is_primary:
            self.lessor.demote()

    def tick(self, now: float) -> None:
        """Have leases revoked whose time is up, at most one bounded round each half second."""
        if not self.lessor.is_primary or now < self._next_expiry:
            return
        self._next_expiry = now + EXPIRY_INTERVAL_S
        expired = self.lessor.take_expired(now)
        if expired:
            self.expired_count += len(expired)
            self._revoke(expired)

    async def renew(self, lease_id: int) -> int:
        """Start a lease's time again; returns its TTL, 0 if it is unknown. Raises StoreError."""
        return (await self._ask(RENEW, lease_id))[0]

    async def time_to_live(self, lease_id: int) -> tuple[int, int]:
        """Return the seconds left and granted, (-1, 0) if unknown. Raises StoreError."""
        return await self._ask(TIME_TO_LIVE, lease_id)

    async def answer(self, kind: str, lease_id: int) -> tuple[int, int] | None:
        """Answer as a leader that a quorum confirms; None where this member is none.

        Raises StoreError where nobody confirms it in time.
        """
        if self.lessor.is_primary:
            await self._confirm()
        return self._answer_now(kind, lease_id)

    def _answer_now(self, kind: str, lease_id: int) -> tuple[int, int] | None:
        lessor = self.lessor
        if not lessor.is_primary:
            return None
        now = self._clock()
        if kind == RENEW:
            ttl_s = lessor.renew(lease_id, now)
            self.renewed_count += ttl_s > 0
            return ttl_s, ttl_s
        return lessor.remaining_s(lease_id, now), lessor.granted_ttl_s(lease_id)

    async def answer_peer(self, kind: str, payload: bytes) -> bytes:
        """Answer another member's request. Raises ValueError for what is none."""
        if kind not in (RENEW, TIME_TO_LIVE) or len(payload) != _ID.size:
            raise ValueError(f"unknown request {kind!r}")
        try:
            answer = await self.answer(kind, _ID.unpack(payload)[0])
        except StoreError:
            answer = None
        return b"" if answer is None else _TIMES.pack(*answer)

    async def _ask(self, kind: str, lease_id: int) -> tuple[int, int]:
        """Ask whoever leads, until somebody answers or the request times out."""
        deadline = self._clock() + self._timeout_s
        while True:
            answer = await self.answer(kind, lease_id)
            if answer is None:
                answer = await self._ask_leader(kind, lease_id, deadline - self._clock())
            if answer is not None:
                return answer
            if self._clock() + RETRY_S >= deadline:
                raise StoreError(ErrorCode.TIMEOUT)
            await asyncio.sleep(RETRY_S)

    async def _ask_leader(
        self, kind: str, lease_id: int, timeout_s: float
    ) -> tuple[int, int] | None:
        leader = self._node.leader_id
        if leader in (0, self._node.id) or timeout_s <= 0:
            return None
        try:
            data = await self._transport.request(
                leader, kind, _ID.pack(lease_id), min(timeout_s, 1.0)
            )
        except PeerError:
            return None
        if len(data) != _TIMES.size:
            return None
        remaining, granted = _TIMES.unpack(data)
        return remaining, granted


def revoke_request(lease_id: int) -> bytes:
    """Encode the command that revokes a lease."""
    return pb.LeaseRevokeRequest(ID=lease_id).SerializeToString()
