"""Decide how much of the log's beginning may go.

An entry may go once this member's flushed state covers it and every member of the cluster holds it:
a follower cannot know the latter, so the leader tells, every few seconds. A tail stays beyond that.
"""

from collections.abc import Iterable

from raftkv.raft.node import NodeStatus

__all__ = ["LogTrimmer"]

TELL_TICKS = 20
"""Ticks between two words of the leader about what everybody holds."""


class LogTrimmer:
    """The trimming decisions of one member. No I/O."""

    def __init__(self, first_index: int, tail_entries: int) -> None:
        """`first_index`: where the log begins now; `tail_entries`: kept in any case."""
        self._first_index = first_index
        self._tail = tail_entries
        self._held_by_all = 0
        self._applied = 0
        self._ticks = 0

    def applied(self, index: int) -> None:
        """Take note of how far this member applied."""
        self._applied = index

    def allow(self, index: int) -> None:
        """Take note that every member holds the log up to `index`."""
        self._held_by_all = max(self._held_by_all, index)

    def lead(self, status: NodeStatus) -> Iterable[tuple[int, int]]:
        """Return what to tell which follower, as the leader; once a tick, mostly nothing."""
        self._ticks += 1
        if self._ticks % TELL_TICKS:
            return ()
        held = min(
            (follower.match_index for follower in status.followers.values()),
            default=status.stable_index,
        )
        self.allow(held)
        return [(member, held) for member in status.followers if member != status.id]

    def due(self, flushed_index: int) -> int:
        """Return the index up to which to drop entries now, 0 for nothing.

        Trims in steps of half a tail at least, so that the disk is seldom troubled.
        """
        drop = min(flushed_index, self._held_by_all, self._applied - self._tail)
        if drop < self._first_index + max(1, self._tail // 2):
            return 0
        self._first_index = drop + 1
        return drop
