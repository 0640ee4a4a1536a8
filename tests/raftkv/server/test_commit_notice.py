"""When followers are told of a commit, and which of them are sent to first."""

from __future__ import annotations

import asyncio

import pytest

from raftkv.raft.messages import Message, MessageType
from raftkv.server.commit_notice import CLOSE_S, HOLD_S, CommitNotice
from raftkv.server.quick_followers import QuickFollowers


class Node:
    """A leader whose followers were told up to `told`."""

    def __init__(self) -> None:
        self.commit_index = self.told = 0
        self.holds = False

    @property
    def owes_commit(self) -> bool:
        return self.told < self.commit_index

    def hold_commit(self, hold: bool) -> None:
        self.holds = hold


def commit(node: Node, notice: CommitNotice, now: float) -> bool:
    """Commit one entry; returns whether followers are told in the same turn."""
    node.commit_index += 1
    due = notice.is_due(now)
    assert due != node.holds
    if due:
        node.told = node.commit_index
        notice.told()
        assert node.holds, "the next turn answers its clients first"
    return due


def under_load(node: Node, notice: CommitNotice) -> float:
    """Entries that follow each other closely, and carry the news; returns the time."""
    now = 1.0
    for _ in range(50):
        commit(node, notice, now)
        now += CLOSE_S / 10
        notice.proposed(now)
        node.told = node.commit_index
    return now


@pytest.mark.asyncio
async def test_news_waits_for_company_only_where_company_comes() -> None:
    node = Node()
    notice = CommitNotice(node, asyncio.get_running_loop(), lambda: None)
    assert commit(node, notice, 1.0), "nothing is known of the load yet"
    now = under_load(node, notice)
    told = commit(node, notice, now)
    assert not told
    for _ in range(20):
        now += 1.0
        notice.proposed(now)
        node.told = node.commit_index
        told = commit(node, notice, now)
    assert told, "entries are rare now"
    notice.close()


@pytest.mark.asyncio
async def test_news_that_is_held_back_is_told_in_time() -> None:
    woken = asyncio.Event()
    node = Node()
    loop = asyncio.get_running_loop()
    notice = CommitNotice(node, loop, woken.set)
    under_load(node, notice)
    began = loop.time()
    assert not commit(node, notice, began)
    async with asyncio.timeout(100 * HOLD_S + 5):
        await woken.wait()
    assert not node.holds
    notice.close()


@pytest.mark.asyncio
async def test_who_waits_is_told_at_once() -> None:
    """A follower whose client sent the command, or one that reads."""
    node = Node()
    notice = CommitNotice(node, asyncio.get_running_loop(), lambda: None)
    now = under_load(node, notice)
    notice.tell_at_once(node.commit_index + 2)
    for _ in range(2):
        assert not node.holds, "the news goes with the turn that commits"
        node.commit_index += 1
        node.told = node.commit_index
        assert not notice.is_due(now)
    held = [node.holds]
    notice.stepped(Message(MessageType.READ_INDEX, 1, 2, 0))
    held.append(node.holds)
    assert held == [True, False], "nobody waits any more, then a reader does"
    notice.close()


def message(to: int) -> Message:
    return Message(MessageType.APPEND, to, 1, 1)


def test_those_whose_answers_commit_are_sent_to_first() -> None:
    quick = QuickFollowers()
    both = (message(2), message(3))
    assert quick.split(both, 3) == (both, ()), "nobody is known to be quick yet"
    quick.committed_by(3)
    assert quick.split(both, 3) == ((both[1],), (both[0],))
    quick.committed_by(2)
    assert quick.split(both, 3) == ((both[0],), (both[1],))
    four = tuple(message(to) for to in (2, 3, 4, 5))
    quick.committed_by(5)
    first, rest = quick.split(four, 5)
    assert ({one.to for one in first}, {one.to for one in rest}) == ({2, 5}, {3, 4})
    assert quick.split((), 1) == ((), ())
