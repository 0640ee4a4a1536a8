"""Who may renew and who may end a lease: a leader that a quorum confirms, and no former one."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from raftkv._native.command_batch import CommandBatch, read_header
from raftkv.errors import ErrorCode, StoreError
from raftkv.lease.lessor import RENEWED
from raftkv.raft.errors import NotLeader
from raftkv.raft.node import RaftNode
from raftkv.server import lease_terms
from raftkv.server.command import CommandKind, NobodyWaits
from raftkv.server.lease_terms import LeaseLog
from raftkv.server.lease_timer import RENEW, TIME_TO_LIVE, LeaseTimer
from raftkv.server.proposals import Proposals

LEASE, TTL_S = 7, 10


class Confirmation:
    """What a quorum says about the leader; `during` happens while it is asked."""

    def __init__(self) -> None:
        self.during: Callable[[], None] = lambda: None
        self.error: StoreError | None = None

    async def __call__(self) -> None:
        await asyncio.sleep(0)
        self.during()
        if self.error is not None:
            raise self.error


class Log:
    """Keeps what a leader decides."""

    def __init__(self) -> None:
        self.terms: list[lease_terms.Terms] = []

    def revoke(self, lease_ids: object) -> bool:
        return True

    def put(self, terms: lease_terms.Terms) -> bool:
        self.terms.append(terms)
        return True


class Store:
    """Leases and small records."""

    def __init__(self) -> None:
        self.leases = {LEASE: TTL_S}
        self.records: dict[bytes, bytes] = {}

    def lease_ids(self) -> list[int]:
        return list(self.leases)

    def lease_ttl(self, lease_id: int) -> int:
        return self.leases[lease_id]

    def take_lease_changes(self) -> list[tuple[str, int, int]]:
        return []

    def member_records(self) -> dict[bytes, bytes]:
        return dict(self.records)

    def put_member_record(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.records.pop(key)
        else:
            self.records[key] = value


def parts(log: Log, store: Store) -> tuple[object, ...]:
    return cast(Any, SimpleNamespace(id=1, leader_id=1)), cast(Any, None), log, store


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def options(confirmation: Confirmation, clock: Clock | None = None) -> dict[str, Any]:
    return {
        "ttl_min_s": 1,
        "confirm": confirmation,
        "request_timeout_s": 0.01,
        "clock": clock or Clock(),
    }


def made(
    confirmation: Confirmation | None = None, clock: Clock | None = None
) -> tuple[LeaseTimer, Log, Store]:
    """Return the timer of a leader with one lease that was just granted, at time 0."""
    log, store = Log(), Store()
    given = options(confirmation or Confirmation(), clock or Clock())
    timer = LeaseTimer(*parts(log, store), **given)  # type: ignore[arg-type]
    timer.take_changes([("grant", LEASE, TTL_S)])
    timer.lead(0)
    return timer, log, store


def make(confirmation: Confirmation) -> LeaseTimer:
    """Return the timer of a leader with one lease that is renewed at will, at time 0."""
    timer, _, _ = made(confirmation)
    timer.apply_terms(batch_of([(LEASE, RENEWED)]))
    return timer


async def test_a_confirmed_leader_renews() -> None:
    assert await make(Confirmation()).answer(RENEW, [LEASE]) == [(TTL_S, TTL_S)]


async def test_many_leases_are_renewed_at_the_cost_of_one() -> None:
    """What is unknown among them is answered with 0, in its place."""
    confirmation = Confirmation()
    asked = 0

    def count() -> None:
        nonlocal asked
        asked += 1

    confirmation.during = count
    timer = make(confirmation)
    timer.take_changes([("grant", lease, 5) for lease in range(100, 200)])
    timer.apply_terms(batch_of([(lease, RENEWED) for lease in range(100, 200)]))
    assert await timer.renew_all([404, *range(100, 200), LEASE]) == [0, *[5] * 100, TTL_S]
    assert asked == 1
    payload = b"".join(one.to_bytes(8, "little") for one in (LEASE, 404))
    told = await timer.answer_peer(RENEW, payload)
    assert len(told) == 2 * 16
    with pytest.raises(ValueError, match="unknown"):
        await timer.answer_peer(RENEW, b"")


async def test_a_leader_deposed_meanwhile_does_not() -> None:
    """The successor times the lease now, and does not know of this renewal."""
    confirmation = Confirmation()
    timer = make(confirmation)
    confirmation.during = timer.follow
    assert await timer.answer(RENEW, [LEASE]) is None
    assert timer.renewed_count == 0


async def test_a_leader_that_nobody_confirms_does_not() -> None:
    """A client hears an error; another member hears that this one has no answer."""
    confirmation = Confirmation()
    timer = make(confirmation)
    confirmation.error = StoreError(ErrorCode.TIMEOUT)
    with pytest.raises(StoreError):
        await timer.renew(LEASE)
    assert await timer.answer_peer(RENEW, LEASE.to_bytes(8, "little")) == b""


class Node:
    """A Raft node that leads or does not."""

    id = 1

    def __init__(self, leads: bool) -> None:
        self.leads = leads
        self.proposed: list[bytes] = []

    def propose(self, data: bytes) -> None:
        if not self.leads:
            raise NotLeader(2)
        self.proposed.append(data)


@pytest.mark.parametrize("leads", [True, False])
def test_expiry_is_for_this_leader_only(leads: bool) -> None:
    """What a leader finds expired goes into its own log, or nowhere: never to its successor."""
    node, proposals = Node(leads), Proposals(1, 100, 5.0)
    log = LeaseLog(cast(RaftNode, node), proposals, lambda: None)
    assert log.revoke([LEASE, 8]) == leads
    assert [read_header(data) for data in node.proposed] == (
        [(1, 100, 2, CommandKind.LEASE_REVOKE)] if leads else []
    )
    assert proposals.pending_count == 0, "it would be sent to whoever leads later"
    assert proposals.take_id() == 101


def test_what_is_left_is_never_told_shorter() -> None:
    left_s = 1.23456
    [(_, told_s)] = lease_terms.decode(lease_terms.encode([(LEASE, left_s)]))
    value = lease_terms.value_of(left_s) or b""
    kept_s = lease_terms.stored({lease_terms.key_of(LEASE): value}, LEASE)
    assert left_s <= told_s == kept_s < left_s + 0.001


def test_terms_travel_as_they_are() -> None:
    terms = [(LEASE, 1.5), (-1, RENEWED), (1 << 62, 0.0)]
    assert lease_terms.decode(lease_terms.encode(terms)) == terms
    with pytest.raises(ValueError, match="15 bytes"):
        lease_terms.decode(bytes(15))


async def test_the_first_renewal_waits_for_the_log() -> None:
    """Others count a granted lease's time: they must know that it is renewed before it is."""
    timer, log, _ = made()
    renewal = asyncio.ensure_future(timer.answer(RENEW, [LEASE]))
    again = asyncio.ensure_future(timer.answer(RENEW, [LEASE]))
    await asyncio.sleep(0.001)
    assert log.terms == [[(LEASE, RENEWED)]]
    assert not renewal.done()
    timer.apply_terms(batch_of(log.terms.pop()))
    assert await renewal == [(TTL_S, TTL_S)]
    assert await again == [(TTL_S, TTL_S)]
    assert await timer.answer(RENEW, [LEASE]) == [(TTL_S, TTL_S)]
    assert log.terms == [], "later ones do not"


@pytest.mark.parametrize("restarted", [True, False])
async def test_a_renewal_is_not_taken_back_by_what_the_lease_had_left_before(
    restarted: bool,
) -> None:
    """Not even where its leader is to tell others what is left just as the lease is renewed."""
    ttl_s, clock = 1000, Clock()
    store = Store()
    store.leases = {LEASE: ttl_s}
    timers, logs = [], [Log(), Log()]
    for log in logs:
        timer = LeaseTimer(*parts(log, store), **options(Confirmation(), clock))  # type: ignore[arg-type]
        if restarted:
            timer.load()
        else:
            timer.take_changes([("grant", LEASE, ttl_s)])
        timers.append(timer)
    leader, successor = timers
    leader.lead(0)
    clock.now = 600.0
    renewal = asyncio.ensure_future(leader.answer(RENEW, [LEASE]))
    await asyncio.sleep(0.001)
    leader.tick(clock.now)  # both what was asked for and a note of what is left are on their way
    for terms in logs[0].terms:
        for timer in timers:
            timer.apply_terms(batch_of(terms))
        await asyncio.sleep(0.001)
    assert await renewal == [(ttl_s, ttl_s)]
    leader.follow()
    successor.lead(0)
    assert await successor.answer(TIME_TO_LIVE, [LEASE]) == [(ttl_s, ttl_s)]


async def test_a_renewal_whose_leader_is_deposed_has_no_answer_here() -> None:
    timer, _, _ = made()
    renewal = asyncio.ensure_future(timer.answer(RENEW, [LEASE]))
    await asyncio.sleep(0.001)
    timer.follow()
    assert await renewal is None


async def test_what_a_lease_has_left_survives_in_the_store() -> None:
    timer, _, store = made()
    timer.apply_terms(batch_of([(LEASE, 4.5)]))
    assert store.records == {b"lease/0000000000000007": b"4500"}
    store.leases[8] = 20
    store.records[b"lease/0000000000000009"] = b"1"  # of a lease that is gone
    restarted = LeaseTimer(*parts(Log(), store), **options(Confirmation()))  # type: ignore[arg-type]
    restarted.load()
    restarted.lead(0)
    assert await restarted.answer(TIME_TO_LIVE, [LEASE]) == [(4, TTL_S)]
    assert await restarted.answer(TIME_TO_LIVE, [8]) == [(20, 20)]
    assert list(store.records) == [b"lease/0000000000000007"]
    restarted.take_changes([("revoke", LEASE, 0)])
    assert store.records == {}


def batch_of(terms: lease_terms.Terms) -> bytes:
    batch = CommandBatch()
    batch.add(CommandKind.LEASE_TERMS, lease_terms.encode(terms), NobodyWaits())
    return batch.seal(1, 1)
