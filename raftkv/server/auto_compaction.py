"""Decide when history is compacted by itself (`--auto-compaction-mode`, `-retention`).

`periodic` keeps a span of time: it samples the revision ten times a period, and compacts to the
sample that is one period old, every period, or every hour where the period is longer. `revision`
keeps a number of revisions, and looks every five minutes.
"""

from collections import deque

from raftkv.config import CompactionMode

__all__ = ["AutoCompaction"]

SAMPLES_PER_PERIOD = 10
REVISION_INTERVAL_S = 300.0
HOUR_S = 3600.0


class AutoCompaction:
    """The schedule of one member. Every member samples; the leader alone acts on the answer."""

    def __init__(self, mode: CompactionMode, now: float) -> None:
        self._mode = mode
        self._samples: deque[tuple[float, int]] = deque()
        """(time, revision), oldest first; at most one period and one sample."""
        self._compacted_to = 0
        self._next_compaction = now + (mode.period_s or REVISION_INTERVAL_S)
        self._next_sample = now

    def due(self, now: float, revision: int) -> int:
        """Return the revision to compact to now, 0 for none."""
        if self._mode.revisions:
            return self._by_revision(now, revision)
        if self._mode.period_s:
            return self._by_period(now, revision)
        return 0

    def _by_revision(self, now: float, revision: int) -> int:
        if now < self._next_compaction:
            return 0
        self._next_compaction = now + REVISION_INTERVAL_S
        return self._once(revision - self._mode.revisions)

    def _by_period(self, now: float, revision: int) -> int:
        period_s = self._mode.period_s
        if now >= self._next_sample:
            self._samples.append((now, revision))
            self._next_sample = now + min(period_s, HOUR_S) / SAMPLES_PER_PERIOD
        if now < self._next_compaction:
            return 0
        self._next_compaction = now + min(period_s, HOUR_S)
        target = 0
        while self._samples and self._samples[0][0] <= now - period_s:
            target = self._samples.popleft()[1]
        return self._once(target)

    def _once(self, revision: int) -> int:
        """Return a revision that was not compacted to before, else 0."""
        if revision <= max(self._compacted_to, 1):
            return 0
        self._compacted_to = revision
        return revision
