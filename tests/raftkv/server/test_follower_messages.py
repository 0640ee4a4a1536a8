"""Which of a leader's messages leave at once, and when the others follow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Entry, EntryKind, Message, MessageType
from raftkv.server.follower_messages import (
    BUSY_S,
    HEDGE_S,
    HELD_BYTES_MAX,
    HELD_MESSAGES_MAX,
    LAZY_S,
    FollowerMessages,
)
from raftkv.server.quick_followers import QuickFollowers

pytestmark = pytest.mark.looptime


class Node:
    """A leader with entry 9 at the end of its log."""

    configuration = Configuration(frozenset({1, 2, 3}))
    last_index = 9
    awaits_followers = False


class Sent:
    """What left, and when, in the loop's virtual seconds."""

    def __init__(self, node: Node, *, quick: int = 2) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.frames: list[tuple[float, list[int]]] = []
        self.messages = FollowerMessages(node, self.loop, self._send)
        if quick:
            self.messages.quick.committed_by(quick)

    def _send(self, messages: Sequence[Message]) -> None:
        if messages:
            elapsed = round(self.loop.time() - self.began, 6)
            self.frames.append((elapsed, [message.to for message in messages]))


def append(to: int, index: int = 9, data: bytes = b"") -> Message:
    entry = Entry(1, index, EntryKind.NORMAL, data)
    return Message(MessageType.APPEND, to, 1, 1, index=index - 1, entries=(entry,))


def both(index: int = 9, data: bytes = b"") -> list[Message]:
    return [append(2, index, data), append(3, index, data)]


@pytest.mark.asyncio
async def test_who_commits_is_sent_to_at_once_and_the_other_in_company() -> None:
    sent = Sent(Node())
    for _ in range(3):
        sent.messages.send(both())
    assert sent.frames == [(0, [2])] * 3
    await asyncio.sleep(1)
    assert sent.frames[3:] == [(LAZY_S, [3, 3, 3])], "one frame"
    sent.messages.close()


@pytest.mark.asyncio
async def test_who_is_missed_is_sent_to_soon() -> None:
    node = Node()
    sent = Sent(node)
    sent.messages.send(both())
    node.awaits_followers = True
    await asyncio.sleep(1)
    assert sent.frames == [(0, [2]), (HEDGE_S, [3])]
    sent.messages.close()


@pytest.mark.asyncio
async def test_nobody_waits_while_nobody_is_known_to_be_quick() -> None:
    sent = Sent(Node(), quick=0)
    sent.messages.send(both())
    assert sent.frames == [(0, [2, 3])]
    node = Node()
    node.configuration = Configuration(frozenset({1, 2, 3}), frozenset({1, 2}))
    joint = Sent(node)
    joint.messages.send(both())
    assert joint.frames == [(0, [2, 3])], "who is needed for both majorities is not looked at"


@pytest.mark.asyncio
async def test_a_follower_with_clients_is_not_kept_waiting() -> None:
    sent = Sent(Node())
    sent.messages.send(both())
    sent.messages.awaited_by(3)
    assert sent.frames == [(0, [2]), (0, [3])], "what was held, too"
    sent.messages.send(both(), syncs=True)
    assert sent.frames[2:] == [(0, [2])]
    sent.messages.synced()
    assert sent.frames[3:] == [(0, [3])], "after the leader's own sync"
    await asyncio.sleep(2 * BUSY_S)
    sent.messages.send(both())
    assert sent.frames[4:] == [(round(2 * BUSY_S, 6), [2])]
    sent.messages.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "message",
    [
        append(3, index=5),
        Message(MessageType.TIMEOUT_NOW, 3, 1, 1),
        Message(MessageType.SNAPSHOT, 3, 1, 1),
    ],
    ids=["of one that lags behind", "that hands over", "of a snapshot"],
)
async def test_what_may_not_wait_takes_along_what_does(message: Message) -> None:
    sent = Sent(Node())
    sent.messages.send(both())
    sent.messages.send([message])
    assert sent.frames == [(0, [2]), (0, [3, 3])], "in their order"


@pytest.mark.asyncio
async def test_heartbeats_wait_too_but_not_many_and_not_much() -> None:
    sent = Sent(Node())
    for _ in range(HELD_MESSAGES_MAX):
        assert not sent.frames
        sent.messages.send([Message(MessageType.HEARTBEAT, 3, 1, 1)])
    assert [len(frame) for _, frame in sent.frames] == [HELD_MESSAGES_MAX]
    sent.messages.send(both(data=bytes(HELD_BYTES_MAX)))
    assert [frame for _, frame in sent.frames[1:]] == [[2], [3]]
    sent.messages.close()


@pytest.mark.asyncio
async def test_nothing_leaves_after_the_end() -> None:
    sent = Sent(Node())
    sent.messages.send(both())
    sent.messages.close()
    await asyncio.sleep(1)
    assert sent.frames == [(0, [2])]


def test_as_many_are_quick_as_a_majority_needs() -> None:
    quick = QuickFollowers()
    assert not quick.chosen(3), "nobody is known to be quick yet"
    quick.committed_by(3)
    assert list(quick.chosen(3)) == [3]
    quick.committed_by(2)
    assert list(quick.chosen(3)) == [2], "who commits now takes the place of who did"
    quick.committed_by(5)
    assert set(quick.chosen(5)) == {2, 5}
    assert not quick.chosen(1)


@pytest.mark.asyncio
async def test_what_was_not_looked_at_before_the_sync_keeps_its_place() -> None:
    """Also where everything leaves before the sync is over."""
    sent = Sent(Node())
    sent.messages.send(both())
    sent.messages.send(both(), syncs=True)
    sent.messages.flush()
    sent.messages.synced()
    await asyncio.sleep(1)
    assert sent.frames == [(0, [2]), (0, [2]), (0, [3, 3])]
    sent.messages.close()
