"""Which followers a leader commits with.

An entry is committed by the leader and the quickest of the others. What those get is what everybody
waits for; see `follower_messages` for what that means for the rest.
"""

from collections import deque
from collections.abc import Collection

__all__ = ["QuickFollowers"]


class QuickFollowers:
    """Remembers whose answers commit."""

    def __init__(self) -> None:
        self._quick: deque[int] = deque()

    def committed_by(self, member_id: int) -> None:
        """Take note that the answer of this member was the one that was missing."""
        if member_id not in self._quick:
            self._quick.append(member_id)

    def chosen(self, voter_count: int) -> Collection[int]:
        """Return as many as a majority needs beside the leader; nobody while too few are known."""
        needed = voter_count // 2
        while len(self._quick) > needed:
            self._quick.popleft()
        return self._quick if len(self._quick) == needed else ()
