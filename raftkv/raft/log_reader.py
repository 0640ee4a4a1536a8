"""The seam between the Raft core and the stored log."""

from __future__ import annotations

from typing import Protocol

from raftkv.raft.messages import Entry


class LogReader(Protocol):
    """The synced part of the log, read by the core. All methods answer at once.

    Its beginning may be cut by the writer at any moment, up to what the state has flushed.
    """

    @property
    def first_index(self) -> int:
        """Index of the first entry that is stored: the base index plus 1, even when empty."""

    @property
    def last_index(self) -> int:
        """Index of the last entry stored, or the base index when none is."""

    def term(self, index: int) -> int:
        """Return the term of an entry, or of the base (first_index - 1; 0 at index 0).

        Raises LogCompacted below the base, LogUnavailable above the last index.
        """

    def entries(self, lo: int, hi: int, bytes_max: int) -> list[Entry]:
        """Return entries of [lo, hi) from `lo` on, as many as fit into `bytes_max`, at least one.

        Raises LogCompacted, LogUnavailable.
        """


class RandomSource(Protocol):
    """Chance, handed in: `random.Random` fits."""

    def randrange(self, stop: int, /) -> int:
        """Return a number of [0, stop)."""
