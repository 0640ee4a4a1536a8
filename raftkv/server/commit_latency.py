"""How long entries take from their proposal to their commit, by samples."""

__all__ = ["CommitLatency"]

SAMPLE_S_MAX = 1.0
"""A sample that is not over by then ends as this: its entry may never be committed."""


class CommitLatency:
    """Times one entry at a time, which costs next to nothing. Knows no clock."""

    __slots__ = ("_index", "_since", "count", "total_s")

    def __init__(self) -> None:
        self.count = 0
        """Samples so far."""
        self.total_s = 0.0
        """Their sum."""
        self._index = 0
        """The entry that is timed; 0: none."""
        self._since = 0.0

    def proposed(self, index: int, now: float) -> None:
        """Take note that this entry is now in the leader's log."""
        if self._index and now - self._since >= SAMPLE_S_MAX:
            self._end(SAMPLE_S_MAX)
        if not self._index:
            self._index, self._since = index, now

    def committed(self, index: int, now: float) -> None:
        """Take note that all up to this entry is now committed."""
        if 0 < self._index <= index:
            self._end(min(now - self._since, SAMPLE_S_MAX))

    def _end(self, seconds: float) -> None:
        self.count += 1
        self.total_s += seconds
        self._index = 0
