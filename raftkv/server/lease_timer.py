"""Leases in time: expiry and keep-alive at the leader, forwarding at everybody else."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from raftkv._native.command_batch import read_commands
from raftkv.errors import ErrorCode, StoreError
from raftkv.lease.lessor import RENEWED, Lessor
from raftkv.peer.errors import PeerError
from raftkv.peer.transport import PeerTransport
from raftkv.server import lease_terms

__all__ = ["RENEW", "TIME_TO_LIVE", "LeaseTimer"]

RENEW, TIME_TO_LIVE = "lease-renew", "lease-time-to-live"
"""Kinds of request between members: lease ids in, remaining and granted seconds of each out."""

ROUND_INTERVAL_S = 0.5
RETRY_S = 0.05
_ID = struct.Struct("<q")
_TIMES = struct.Struct("<qq")


class Leading(Protocol):
    """What the timer needs to know of the Raft node."""

    @property
    def id(self) -> int: ...
    @property
    def leader_id(self) -> int: ...


class LeaseDecisions(Protocol):
    """Where a leader's decisions go; False: they certainly do not happen."""

    def revoke(self, lease_ids: Iterable[int]) -> bool: ...
    def put(self, terms: lease_terms.Terms) -> bool: ...


class LeaseStore(Protocol):
    """What is needed of the store."""

    def lease_ids(self) -> list[int]: ...
    def lease_ttl(self, lease_id: int) -> int: ...
    def take_lease_changes(self) -> list[tuple[str, int, int]]: ...
    def member_records(self) -> dict[bytes, bytes]: ...
    def put_member_record(self, key: bytes, value: bytes | None) -> None: ...


class LeaseTimer:
    """Times the leases of one member. Used from the loop only.

    `log` takes what is to be decided for all members: ends of leases, and what they have left.
    `confirm()` returns once a quorum has said, after the call, who leads: a leader that was paused
    or cut off must not renew leases that its successor times.
    """

    def __init__(
        self,
        node: Leading,
        transport: PeerTransport,
        log: LeaseDecisions,
        store: LeaseStore,
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
        self._log = log
        self._store = store
        self._confirm = confirm
        self._timeout_s = request_timeout_s
        self._clock = clock
        self._next_round = 0.0
        self._written: set[int] = set()
        """Leases of which the store has what they had left once."""
        self._to_unsettle: list[int] = []
        self._unsettling: dict[int, asyncio.Future[bool]] = {}
        """Leases that somebody is to renew, until they are unsettled or another member leads."""

    def load(self) -> None:
        """Take over what the store holds, in the place of everything known."""
        now, rows = self._clock(), self._store.member_records()
        self._store.take_lease_changes()
        self.lessor.clear()
        self._written.clear()
        for lease_id in self._store.lease_ids():
            left_s = lease_terms.stored(rows, lease_id)
            self.lessor.restored(lease_id, self._store.lease_ttl(lease_id), left_s, now)
            rows.pop(lease_terms.key_of(lease_id), None)
            if left_s != RENEWED:
                self._written.add(lease_id)
        for key in rows:
            if key.startswith(lease_terms.KEY):  # of a lease that ended just before a crash
                self._store.put_member_record(key, None)

    def apply_terms(self, batch: bytes) -> None:
        """Take note of what leases have left, or that they are renewed at will."""
        self.take_changes(self._store.take_lease_changes())
        now = self._clock()
        for _, payload in read_commands(batch):
            for lease_id, left_s in lease_terms.decode(payload):
                if self.lessor.settled(lease_id, left_s, now):
                    self._write(lease_id, left_s)
                if left_s == RENEWED:
                    self._end_unsettling(lease_id, done=True)

    def _write(self, lease_id: int, left_s: float) -> None:
        """Have the store hold what a lease has left, as of the entry that is being applied."""
        if left_s != RENEWED:
            self._written.add(lease_id)
        elif lease_id in self._written:
            self._written.discard(lease_id)
        else:
            return
        self._store.put_member_record(lease_terms.key_of(lease_id), lease_terms.value_of(left_s))

    def take_changes(self, changes: Iterable[tuple[str, int, int]]) -> None:
        """Take note of leases that were granted or revoked by applied commands."""
        now = self._clock()
        for what, lease_id, ttl_s in changes:
            if what == "grant":
                self.lessor.granted(lease_id, ttl_s, now)
            else:
                self.lessor.revoked(lease_id)
            self._write(lease_id, RENEWED)

    def lead(self, extension_s: float) -> None:
        """Begin to time leases: everything before this member's own term is applied."""
        self.lessor.promote(self._clock(), extension_s)

    def follow(self) -> None:
        """Stop timing leases."""
        if self.lessor.is_primary:
            self.lessor.demote()
        for lease_id in list(self._unsettling):
            self._end_unsettling(lease_id, done=False)

    def tick(self, now: float) -> None:
        """Have leases revoked or settled that are due, one bounded round each half second."""
        if not self.lessor.is_primary or now < self._next_round:
            return
        self._next_round = now + ROUND_INTERVAL_S
        expired = self.lessor.take_expired(now)
        if expired:
            self.expired_count += len(expired)
            self._log.revoke(expired)
        terms = self.lessor.take_unsettled(now, self._unsettling)
        if terms and not self._log.put(terms):
            self.lessor.give_up(terms, now)

    async def renew(self, lease_id: int) -> int:
        """Start a lease's time again; returns its TTL, 0 if it is unknown. Raises StoreError."""
        return (await self.renew_all([lease_id]))[0]

    async def renew_all(self, lease_ids: Sequence[int]) -> list[int]:
        """Like `renew` for each, at the cost of one."""
        return [ttl_s for ttl_s, _ in await self._ask(RENEW, lease_ids)]

    async def time_to_live(self, lease_id: int) -> tuple[int, int]:
        """Return the seconds left and granted, (-1, 0) if unknown. Raises StoreError."""
        return (await self._ask(TIME_TO_LIVE, [lease_id]))[0]

    async def answer(self, kind: str, lease_ids: Sequence[int]) -> list[tuple[int, int]] | None:
        """Answer as a leader that a quorum confirms; None where this member is none.

        Raises StoreError where nobody confirms it in time.
        """
        if kind == RENEW and not await self._unsettle(lease_ids):
            return None
        if self.lessor.is_primary:
            await self._confirm()
        return self._answer_now(kind, lease_ids)

    def _must_unsettle(self, lease_id: int) -> bool:
        lessor = self.lessor
        return (
            lessor.is_primary
            and lessor.is_settled(lease_id)
            and lessor.is_alive(lease_id, self._clock())
        )

    async def _unsettle(self, lease_ids: Sequence[int]) -> bool:
        """Have everybody know that leases are renewed at will; tells whether it came to it.

        All that is asked in one turn of the loop shares an entry of the log.
        """
        settled = [lease_id for lease_id in lease_ids if self._must_unsettle(lease_id)]
        if not settled:
            return True
        futures = [self._future_of(lease_id) for lease_id in settled]
        done, late = await asyncio.wait(futures, timeout=self._timeout_s)
        return not late and all(future.result() for future in done)

    def _future_of(self, lease_id: int) -> asyncio.Future[bool]:
        """Return what is done when a lease is unsettled, having it proposed in this turn."""
        future = self._unsettling.get(lease_id)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._unsettling[lease_id] = loop.create_future()
            if not self._to_unsettle:
                loop.call_soon(self._propose_unsettled)
            self._to_unsettle.append(lease_id)
        return future

    def _propose_unsettled(self) -> None:
        lease_ids, self._to_unsettle = self._to_unsettle, []
        if not self._log.put([(lease_id, RENEWED) for lease_id in lease_ids]):
            for lease_id in lease_ids:
                self._end_unsettling(lease_id, done=False)

    def _end_unsettling(self, lease_id: int, *, done: bool) -> None:
        future = self._unsettling.pop(lease_id, None)
        if future is not None and not future.done():
            future.set_result(done)

    def _answer_now(self, kind: str, lease_ids: Sequence[int]) -> list[tuple[int, int]] | None:
        lessor, now = self.lessor, self._clock()
        if not lessor.is_primary:
            return None
        if kind == TIME_TO_LIVE:
            return [(lessor.remaining_s(one, now), lessor.granted_ttl_s(one)) for one in lease_ids]
        if any(self._must_unsettle(one) for one in lease_ids):
            return None
        renewed = [lessor.renew(one, now) for one in lease_ids]
        self.renewed_count += sum(ttl_s > 0 for ttl_s in renewed)
        return [(ttl_s, ttl_s) for ttl_s in renewed]

    async def answer_peer(self, kind: str, payload: bytes) -> bytes:
        """Answer another member's request. Raises ValueError for what is none."""
        if kind not in (RENEW, TIME_TO_LIVE) or not payload or len(payload) % _ID.size:
            raise ValueError(f"unknown request {kind!r}")
        try:
            answer = await self.answer(kind, [one for (one,) in _ID.iter_unpack(payload)])
        except StoreError:
            answer = None
        return b"" if answer is None else b"".join(_TIMES.pack(*times) for times in answer)

    async def _ask(self, kind: str, lease_ids: Sequence[int]) -> list[tuple[int, int]]:
        """Ask whoever leads, until somebody answers or the request times out."""
        deadline = self._clock() + self._timeout_s
        while True:
            answer = await self.answer(kind, lease_ids)
            if answer is None:
                answer = await self._ask_leader(kind, lease_ids, deadline - self._clock())
            if answer is not None:
                return answer
            if self._clock() + RETRY_S >= deadline:
                raise StoreError(ErrorCode.TIMEOUT)
            await asyncio.sleep(RETRY_S)

    async def _ask_leader(
        self, kind: str, lease_ids: Sequence[int], timeout_s: float
    ) -> list[tuple[int, int]] | None:
        leader = self._node.leader_id
        if leader in (0, self._node.id) or timeout_s <= 0:
            return None
        payload = b"".join(_ID.pack(one) for one in lease_ids)
        try:
            data = await self._transport.request(leader, kind, payload, min(timeout_s, 1.0))
        except PeerError:
            return None
        if len(data) != _TIMES.size * len(lease_ids):
            return None
        return list(_TIMES.iter_unpack(data))
