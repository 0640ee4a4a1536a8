"""Which followers a leader sends to before its own sync.

An entry is committed by the leader and the quickest of the others. Where the leader's sync is short
and on the loop, those get it first and the rest right after: what they do for it does not compete
with what everybody waits for.
"""

from collections import deque

from raftkv.raft.messages import Message

__all__ = ["QuickFollowers"]


class QuickFollowers:
    """Remembers whose answers commit."""

    def __init__(self) -> None:
        self._quick: deque[int] = deque()

    def committed_by(self, member_id: int) -> None:
        """Take note that the answer of this member was the one that was missing."""
        if member_id not in self._quick:
            self._quick.append(member_id)

    def split(
        self, messages: tuple[Message, ...], voter_count: int
    ) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
        """Return the messages to send before the sync, and those for after it."""
        needed = voter_count // 2
        while len(self._quick) > needed:
            self._quick.popleft()
        if len(self._quick) < needed:
            return messages, ()
        first = tuple(message for message in messages if message.to in self._quick)
        return first, tuple(message for message in messages if message.to not in self._quick)
