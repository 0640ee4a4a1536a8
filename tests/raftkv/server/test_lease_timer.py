"""Who may renew and who may end a lease: a leader that a quorum confirms, and no former one."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from raftkv._native.command_batch import read_header
from raftkv.errors import ErrorCode, StoreError
from raftkv.raft.errors import NotLeader
from raftkv.server.command import CommandKind
from raftkv.server.lease_timer import RENEW, LeaseTimer
from raftkv.server.member import Member
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


def make(confirmation: Confirmation) -> LeaseTimer:
    """Return the timer of a leader with one lease, at time 0."""
    timer = LeaseTimer(
        cast(Any, SimpleNamespace(id=1, leader_id=1)),
        cast(Any, None),
        lambda lease_ids: None,
        ttl_min_s=1,
        confirm=confirmation,
        request_timeout_s=0.01,
        clock=lambda: 0.0,
    )
    timer.take_changes([("grant", LEASE, TTL_S)])
    timer.lead(0)
    return timer


async def test_a_confirmed_leader_renews() -> None:
    assert await make(Confirmation()).answer(RENEW, LEASE) == (TTL_S, TTL_S)


async def test_a_leader_deposed_meanwhile_does_not() -> None:
    """The successor times the lease now, and does not know of this renewal."""
    confirmation = Confirmation()
    timer = make(confirmation)
    confirmation.during = timer.follow
    assert await timer.answer(RENEW, LEASE) is None
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
    auth = SimpleNamespace(stamp=None)
    member = SimpleNamespace(id=1, node=node, proposals=proposals, auth=auth, wake=lambda: None)
    Member._revoke_expired(cast(Member, member), [LEASE, 8])
    assert [read_header(data) for data in node.proposed] == (
        [(1, 100, 2, CommandKind.LEASE_REVOKE)] if leads else []
    )
    assert proposals.pending_count == 0, "it would be sent to whoever leads later"
    assert proposals.take_id() == 101
