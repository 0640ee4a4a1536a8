"""Values counted in buckets: what a histogram of the metrics is made of."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["Distribution"]


class Distribution:
    """Observed values, counted in buckets. Not for more than one thread."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """Values at most each bound and above the one before; last those above all."""
        self.total = 0.0

    @classmethod
    def of(cls, bounds: Sequence[float], counts: Sequence[int], total: float) -> Distribution:
        """Make one of counts that were kept elsewhere."""
        made = cls(bounds)
        made.counts = list(counts)
        made.total = total
        return made

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
