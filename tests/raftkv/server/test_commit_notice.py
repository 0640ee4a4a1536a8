"""When followers are told of a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Message, MessageType
from raftkv.server.commit_notice import CLOSE_S, HOLD_S, CommitNotice
from raftkv.server.follower_messages import FollowerMessages


class Node:
    """A leader whose followers were told up to `told`."""

    def __init__(self) -> None:
        self.commit_index = self.told = 0
        self.holds = False

    @property
    def owes_commit(self) -> bool:
        return self.told < self.commit_index

    last_index = 0
    awaits_followers = False
    configuration = Configuration(frozenset({1, 2, 3}))

    def hold_commit(self, hold: bool) -> None:
        self.holds = hold


def notice_for(node: Node, wake: Callable[[], None] = lambda: None) -> CommitNotice:
    loop = asyncio.get_running_loop()
    return CommitNotice(node, loop, wake, FollowerMessages(node, loop, lambda _messages: None))


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
    notice = notice_for(node)
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
    notice = notice_for(node, woken.set)
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
    notice = notice_for(node)
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
