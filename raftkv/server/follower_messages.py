"""When a leader's messages leave: to those who commit with it at once, to the others in company.

An entry is committed by the leader and the quickest followers. What the others do for it competes
with that, for the disk and for the cores where members share them, and brings nobody an answer. So
what they get waits up to `LAZY_S` and then goes as one frame, which costs them one turn and one
sync instead of several. It goes sooner where it could be of use: when what was sent is not
committed or confirmed within `HEDGE_S`, when the follower has clients of its own that write or read
through it, or when it is not level. Which followers those are is for `QuickFollowers` to say: one
that falls behind is exchanged with the first commit that it was too late for.

Raft's safety does not depend on any of this: to the algorithm, such a message is on its way.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import APPEND, HEARTBEAT, Message
from raftkv.server.quick_followers import QuickFollowers

__all__ = ["FollowerMessages", "LeadingNode"]

LAZY_S = 0.006
"""How long a message may wait for company."""

HEDGE_S = 0.003
"""How long it may wait while an entry or a read has not enough answers."""

HELD_BYTES_MAX = 512 << 10
"""Entries that wait; more of them have company enough."""

HELD_MESSAGES_MAX = 256
"""Messages that wait."""

BUSY_S = 1.0
"""A follower whose clients were heard of is not kept waiting for so long."""


class LeadingNode(Protocol):
    """What is needed of the Raft node."""

    @property
    def configuration(self) -> Configuration: ...
    @property
    def last_index(self) -> int: ...
    @property
    def awaits_followers(self) -> bool: ...


class FollowerMessages:
    """What a leader sends, in the order of each receiver. All methods are called on the loop."""

    def __init__(
        self,
        node: LeadingNode,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[Sequence[Message]], None],
    ) -> None:
        self.quick = QuickFollowers()
        self._node = node
        self._loop = loop
        self._send = send
        self._unsorted: deque[Message] = deque()
        """What goes to others than the quick, while the caller syncs."""
        self._held: list[Message] = []
        self._held_bytes = 0
        self._held_since = 0.0
        self._is_due = False
        """What is held leaves as soon as the caller's sync is over."""
        self._busy_until: dict[int, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def send(self, messages: Sequence[Message], *, syncs: bool = False) -> None:
        """Send what cannot wait. With `syncs`, the caller syncs at once and then calls `synced`."""
        if not messages:
            return
        configuration = self._node.configuration
        quick: Collection[int] = ()
        if not configuration.is_joint:
            quick = self.quick.chosen(len(configuration.voters))
        if not quick:
            self.flush()
            self._send(messages)
            return
        self._send([message for message in messages if message.to in quick])
        self._unsorted += [message for message in messages if message.to not in quick]
        if not syncs:
            self.synced()

    def synced(self) -> None:
        """Look at what only waited for the leader's own sync."""
        while self._unsorted:
            self._hold(self._unsorted.popleft())
        if self._is_due:
            self.flush()

    def awaited_by(self, member_id: int) -> None:
        """Take note that clients of a follower wait for what this leader does."""
        self._busy_until[member_id] = self._loop.time() + BUSY_S
        self.flush()

    def flush(self) -> None:
        """Send all that is held."""
        self._is_due = False
        if self._held or self._unsorted:
            held = [*self._held, *self._unsorted]
            self._unsorted.clear()
            self._held, self._held_bytes = [], 0
            self._send(held)

    def close(self) -> None:
        """Send nothing more."""
        self._unsorted.clear()
        self._held.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _hold(self, message: Message) -> None:
        now = self._loop.time()
        if not self._held:
            self._held_since = now
        self._held.append(message)
        self._held_bytes += sum(entry.size_bytes for entry in message.entries)
        if (
            not self._may_wait(message, now)
            or now - self._held_since >= LAZY_S
            or self._held_bytes > HELD_BYTES_MAX
            or len(self._held) >= HELD_MESSAGES_MAX
        ):
            self._is_due = True
        elif self._timer is None:
            self._timer = self._loop.call_later(HEDGE_S, self._expire)

    def _may_wait(self, message: Message, now: float) -> bool:
        """Say whether this is what a level follower gets whose clients wait for nothing."""
        if message.type is APPEND:
            if message.index + len(message.entries) != self._node.last_index:
                return False
        elif message.type is not HEARTBEAT:
            return False
        return self._busy_until.get(message.to, 0.0) <= now

    def _expire(self) -> None:
        self._timer = None
        if not self._held:
            return
        left_s = self._held_since + LAZY_S - self._loop.time()
        if left_s <= 0 or self._node.awaits_followers:
            self.flush()
        else:
            self._timer = self._loop.call_later(left_s, self._expire)
