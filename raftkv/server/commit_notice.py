"""When followers hear that an entry is committed: with the next entry, if that is about to come.

A message that says nothing else costs the leader and each follower a turn, just when the next
command arrives: under a steady load that is a third of all the work. So the leader answers its
clients first, and where entries have lately followed each other closely, the news waits for the
next one, `HOLD_S` at most. It does not wait where somebody does: a follower whose client sent the
command, or who reads.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from raftkv.raft.messages import Message, MessageType
from raftkv.server.commit_latency import CommitLatency
from raftkv.server.follower_messages import FollowerMessages

__all__ = ["CommitNotice", "HoldingNode"]

HOLD_S = 0.001
"""How long the news may wait for company."""

CLOSE_S = 0.0006
"""Entries that follow a commit within this time, in the mean, are worth waiting for."""

GAPS_REMEMBERED = 8
"""The mean is that of about so many gaps."""

GAP_S_MAX = 0.01
"""A longer gap counts as this: after a pause, the mean is soon that of the present again."""


class HoldingNode(Protocol):
    """What is needed of the Raft node."""

    @property
    def commit_index(self) -> int: ...
    @property
    def owes_commit(self) -> bool: ...
    def hold_commit(self, hold: bool) -> None: ...


class CommitNotice:
    """Decides for one member, whether it leads or not. All methods are called on the loop."""

    def __init__(
        self,
        node: HoldingNode,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        followers: FollowerMessages,
    ) -> None:
        self.latency = CommitLatency()
        self._node = node
        self._loop = loop
        self._wake = wake
        self._followers = followers
        self._mean_gap_s = GAP_S_MAX
        self._commit_index = self._seen_index = 0
        self._committed_at = 0.0
        """When the latest commit was seen that no entry has followed yet; 0: one has."""
        self._urgent_index = 0
        """Somebody waits to hear that this entry is committed."""
        self._timer: asyncio.TimerHandle | None = None

    def proposed(self, now: float, index: int = 0) -> None:
        """Take note of a new entry."""
        if index:
            self.latency.proposed(index, now)
        if self._committed_at:
            gap_s = min(now - self._committed_at, GAP_S_MAX)
            self._mean_gap_s += (gap_s - self._mean_gap_s) / GAPS_REMEMBERED
            self._committed_at = 0.0

    def tell_at_once(self, index: int = 0) -> None:
        """Do not hold back what is committed by now, nor the news of this entry."""
        self._urgent_index = max(self._urgent_index, index)
        if index:
            self.latency.proposed(index, self._loop.time())
        self._node.hold_commit(False)

    def proposed_for(self, member_id: int, index: int) -> None:
        """Take note of a new entry of another member's clients."""
        self.tell_at_once(index)
        self._followers.awaited_by(member_id)

    def stepped(self, message: Message) -> None:
        """Take note of a message that the node has just taken."""
        if self._node.commit_index > self._seen_index:
            self._seen_index = self._node.commit_index
            self._followers.quick.committed_by(message.sender)
        if message.type is MessageType.READ_INDEX:
            self.tell_at_once()
            self._followers.awaited_by(message.sender)

    def is_due(self, now: float) -> bool:
        """Say, when clients are answered, whether to tell now; the caller then does so.

        What the next turn commits is held back until its clients are answered, too.
        """
        node = self._node
        if node.commit_index > self._commit_index:
            self._commit_index = node.commit_index
            self._committed_at = now
            self.latency.committed(node.commit_index, now)
        awaited = self._commit_index < self._urgent_index
        due = node.owes_commit and (awaited or self._mean_gap_s >= CLOSE_S)
        node.hold_commit(not (due or awaited))
        if not due and self._timer is None and node.owes_commit:
            self._timer = self._loop.call_later(HOLD_S, self._expire)
        return due

    def told(self) -> None:
        """Take note that followers were told."""
        self._node.hold_commit(self._commit_index >= self._urgent_index)

    def close(self) -> None:
        """Do nothing more."""
        self._followers.close()
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        """Tell what is still untold, if no entry came along since it was committed."""
        self._timer = None
        if not self._node.owes_commit:
            return
        waited_s = self._loop.time() - self._committed_at
        if self._committed_at and waited_s < HOLD_S / 2:
            self._timer = self._loop.call_later(HOLD_S - waited_s, self._expire)
            return
        self._node.hold_commit(False)
        self._wake()
