"""Decide how much of the log's beginning may go.

An entry may go once this member's flushed state covers it. A tail stays beyond that, bounded in
entries and bytes, so that a follower which was away for a moment is sent entries; one that lacks
more is sent a snapshot, and the log behind that snapshot is held until the follower is level.
"""

from collections import deque

__all__ = ["HELD_ENTRIES_MAX", "TAIL_BYTES_MAX", "LogTrimmer"]

TAIL_BYTES_MAX = 512 << 20
"""Bytes of applied entries that the tail may hold, however few entries they are."""

MARK_BYTES = 4 << 20
"""How finely the bytes of the tail are known."""

HELD_ENTRIES_MAX = 1_000_000
"""Entries that are held for a snapshot under way, however long it takes."""


class LogTrimmer:
    """The trimming decisions of one member. No I/O."""

    def __init__(self, first_index: int, tail_entries: int) -> None:
        """`first_index`: where the log begins now; `tail_entries`: kept in any case."""
        self._first_index = first_index
        self._tail = tail_entries
        self._applied = 0
        self._bytes = 0
        self._marks: deque[tuple[int, int]] = deque()
        """(index, bytes applied up to it), one each `MARK_BYTES`."""
        self._held: dict[int, int] = {}

    def applied(self, index: int, size_bytes: int = 0) -> None:
        """Take note of how far this member applied, and of how many bytes more that was."""
        self._applied = index
        self._bytes += size_bytes
        if not self._marks or self._bytes - self._marks[-1][1] >= MARK_BYTES:
            self._marks.append((index, self._bytes))

    def begin_at(self, index: int) -> None:
        """Take note that the log was reset: it now begins at `index`."""
        self._first_index = index
        self._applied = index - 1
        self._marks.clear()

    def hold(self, member_id: int, index: int) -> None:
        """Keep what follows `index` for a member that is being sent a snapshot at `index`."""
        self._held[member_id] = index

    def advance(self, member_id: int, index: int) -> None:
        """Note that a member for which the log is kept has it up to `index`."""
        self._held[member_id] = max(index, self._held.get(member_id, index))

    def tail_covers(self, index: int) -> bool:
        """Say whether one who has the log up to `index` can go on with what is kept in any case."""
        return index >= self._applied - self._tail // 2

    def held_share(self, member_id: int) -> float:
        """Say how much of what may be held for a member is held, of 1."""
        return (self._applied - self._held.get(member_id, self._applied)) / HELD_ENTRIES_MAX

    def release(self, member_id: int) -> None:
        """Note that the member's snapshot is done with. Idempotent."""
        self._held.pop(member_id, None)

    def due(self, flushed_index: int) -> int:
        """Return the index up to which to drop entries now, 0 for nothing.

        Trims in steps of half a tail at least, so that the disk is seldom troubled.
        """
        beyond_bytes = 0
        while len(self._marks) > 1 and self._bytes - self._marks[0][1] > TAIL_BYTES_MAX:
            beyond_bytes = self._marks.popleft()[0]
        drop = min(flushed_index, max(self._applied - self._tail, beyond_bytes))
        if self._held:
            held = max(min(self._held.values()), self._applied - HELD_ENTRIES_MAX)
            drop = min(drop, held)
        if drop < self._first_index + (0 if beyond_bytes else max(1, self._tail // 2)):
            return 0
        self._first_index = drop + 1
        return drop
