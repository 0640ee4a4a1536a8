"""The log as the algorithm sees it: synced entries behind a `LogReader`, recent ones in memory.

    base          first of tail       stable_index   taken_index   last_index
     |  reader only  |  reader and tail  |  being synced |  tail only  |

The tail holds every entry that is not yet synced, and keeps synced ones for a while, because
followers that are nearly level and the applier ask for them next.
"""

from __future__ import annotations

from collections.abc import Sequence

from raftkv.raft.errors import LogCompacted, LogUnavailable
from raftkv.raft.log_reader import LogReader
from raftkv.raft.messages import Entry, size_of

ENTRIES_PER_CALL_MAX = 1 << 30
"""More than any bound in bytes lets through."""

ENTRIES_PER_TAKE_MAX = 4096
"""Entries handed out for applying at once."""


def must_reset(reader: LogReader, applied_index: int, applied_term: int) -> bool:
    """Say whether the log was not reset yet after the state was installed from a snapshot.

    To be asked at every start with what the state says of itself; if so, reset the log to
    (applied_index, applied_term), keeping its hard state, before a node is made of it.
    """
    if applied_index > reader.last_index:
        return True
    if applied_index < reader.first_index - 1:
        return False  # the state is behind the log: not ours to mend
    return reader.term(applied_index) != applied_term


class RaftLog:
    """Invariants: stable_index <= taken_index <= last_index; commit_index <= last_index."""

    __slots__ = (
        "_cache_bytes",
        "_cache_bytes_max",
        "_offset",
        "_reader",
        "_snapshot",
        "_tail",
        "_taken_in_flight",
        "commit_index",
        "handed_out_index",
        "last_index",
        "last_term",
        "stable_index",
        "taken_index",
    )

    def __init__(
        self, reader: LogReader, *, commit_index: int, applied_index: int, cache_bytes_max: int
    ) -> None:
        """Start behind what the reader holds.

        Raises ValueError when the state machine's `applied_index` and the log do not meet.
        """
        last = reader.last_index
        if commit_index > last:
            raise ValueError(f"entry {commit_index} is committed, but the log ends at {last}")
        if not reader.first_index - 1 <= applied_index <= last:
            raise ValueError(
                f"the state is applied up to entry {applied_index}, but the log holds "
                f"{reader.first_index} to {last}: they are not of the same member and moment"
            )
        self._reader = reader
        self._snapshot: tuple[int, int] | None = None
        """Index and term of a snapshot that is not installed; what the reader has is void."""
        self._tail: list[Entry] = []
        self._offset = last + 1
        """Index of `_tail[0]`."""
        self._cache_bytes = 0
        self._cache_bytes_max = cache_bytes_max
        self.last_index = last
        self.last_term = reader.term(last)
        self.stable_index = last
        """Synced up to here, and the same as in memory."""
        self.taken_index = last
        """Handed out for syncing up to here."""
        self._taken_in_flight = last
        self.commit_index = max(commit_index, applied_index)
        self.handed_out_index = applied_index
        """Handed out for applying up to here."""

    @property
    def first_index(self) -> int:
        """Index of the oldest entry that can be read."""
        if self._snapshot is not None:
            return self._snapshot[0] + 1
        return self._reader.first_index

    def is_cached(self, index: int) -> bool:
        """Say whether an entry is in memory, so that it costs no disk read."""
        return index >= self._offset

    def term(self, index: int) -> int:
        """Return the term of an entry, or of the base. Raises LogCompacted, LogUnavailable."""
        if index == self.last_index:
            return self.last_term
        if index > self.last_index:
            raise LogUnavailable(index, self.last_index)
        if index >= self._offset:
            return self._tail[index - self._offset].term
        return self._stored_term(index)

    def _stored_term(self, index: int) -> int:
        """Return the term of an entry that is not in the tail."""
        if self._snapshot is None:
            return self._reader.term(index)
        if index < self._snapshot[0]:
            raise LogCompacted(index, self.first_index)
        return self._snapshot[1]

    def matches(self, index: int, term: int) -> bool:
        """Say whether the log has an entry of `term` at `index`; below the base, say no."""
        if index > self.last_index or index < self.first_index - 1:
            return False
        return self.term(index) == term

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Say whether a log that ends so is at least as up-to-date as this one (Raft §5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def entries(
        self, lo: int, hi: int, bytes_max: int, count_max: int = ENTRIES_PER_CALL_MAX
    ) -> list[Entry]:
        """Return entries of [lo, hi) from `lo` on, within both bounds but at least one.

        Costs a disk read only when `lo` is older than the tail. Raises LogCompacted.
        """
        assert lo < hi <= self.last_index + 1
        hi = min(hi, lo + count_max)
        if lo < self._offset:
            if self._snapshot is not None:
                raise LogCompacted(lo, self.first_index)
            return self._reader.entries(lo, min(hi, self._offset), bytes_max)
        start = lo - self._offset
        found = self._tail[start : start + hi - lo]
        size = 0
        for position, entry in enumerate(found):
            size += entry.size_bytes
            if size > bytes_max and position:
                del found[position:]
                break
        return found

    def append(self, entries: Sequence[Entry]) -> None:
        """Put entries at the end; they follow `last_index`."""
        assert entries[0].index == self.last_index + 1
        self._tail.extend(entries)
        self._cache_bytes += size_of(entries)
        self.last_index = entries[-1].index
        self.last_term = entries[-1].term

    def merge(self, entries: Sequence[Entry]) -> int:
        """Take a leader's entries: skip what is there, replace a conflicting tail (Raft §5.3).

        Returns the first index that was replaced; 0 if none was.
        """
        for position, entry in enumerate(entries):
            if entry.index > self.last_index:
                self.append(entries[position:])
                return 0
            if self.term(entry.index) != entry.term:
                self._truncate_suffix(entry.index)
                self.append(entries[position:])
                return entry.index
        return 0

    def _truncate_suffix(self, index: int) -> None:
        """Forget the entries at and above `index` and whatever was said of their durability."""
        assert index > self.commit_index, "a committed entry conflicts with the leader's"
        if index < self._offset:
            self._tail.clear()
            self._cache_bytes = 0
            self._offset = index
        else:
            cut = index - self._offset
            self._cache_bytes -= size_of(self._tail[cut:])
            del self._tail[cut:]
        self.stable_index = min(self.stable_index, index - 1)
        self.taken_index = min(self.taken_index, index - 1)
        # A sync of the removed entries may be under way; it must not vouch for their successors.
        self._taken_in_flight = min(self._taken_in_flight, index - 1)
        self.last_index = index - 1
        self.last_term = self._tail[-1].term if self._tail else self._stored_term(self.last_index)

    def restore(self, index: int, term: int) -> None:
        """Begin anew behind a snapshot, which `snapshot_installed` makes the reader's base.

        A sync that is under way vouches for nothing any more.
        """
        assert index > self.commit_index, "a snapshot of what is committed already"
        self._snapshot = (index, term)
        self._tail.clear()
        self._cache_bytes = 0
        self._offset = index + 1
        self.last_index = self.stable_index = self.taken_index = index
        self._taken_in_flight = self.commit_index = self.handed_out_index = index
        self.last_term = term

    def snapshot_installed(self) -> None:
        """Note that the reader now begins behind the snapshot."""
        self._snapshot = None
        assert self._reader.first_index == self._offset, "the log was not reset to the snapshot"

    def find_conflict(self, index: int, term: int) -> tuple[int, int]:
        """Return the highest index <= `index` whose term is <= `term`, and that term.

        Two logs cannot agree above it, so whole terms are skipped (Raft §5.3, last paragraphs). The
        term is 0 where the log does not reach that far back; its beginning may be cut meanwhile.
        """
        index = min(index, self.last_index)
        base = self.first_index - 1
        try:
            while index > base:
                found = self.term(index)
                if found <= term:
                    return index, found
                index -= 1
            return index, self.term(index) if index == base else 0
        except LogCompacted:
            return index, 0  # cut meanwhile by the log's writer

    def take_unstable(self) -> tuple[Entry, ...]:
        """Hand out what must be synced next. One at a time: `mark_stable` ends it."""
        start = self.taken_index + 1 - self._offset
        self.taken_index = self._taken_in_flight = self.last_index
        return tuple(self._tail[start:])

    def has_unstable(self) -> bool:
        """Say whether entries wait to be handed out for syncing."""
        return self.taken_index < self.last_index

    def mark_stable(self) -> None:
        """Note that what was taken is synced, but for entries replaced meanwhile."""
        self.stable_index = self._taken_in_flight
        self._evict()

    def applicable(self) -> bool:
        """Say whether committed and synced entries wait to be handed out for applying."""
        return self.handed_out_index < min(self.commit_index, self.stable_index)

    def take_committed(self, bytes_max: int) -> tuple[Entry, ...]:
        """Hand out the next entries to apply, in order, never above what is synced here.

        Raises CorruptEntry for one that is not what was proposed.
        """
        hi = min(self.commit_index, self.stable_index)
        if self.handed_out_index >= hi:
            return ()
        found = tuple(
            self.entries(self.handed_out_index + 1, hi + 1, bytes_max, ENTRIES_PER_TAKE_MAX)
        )
        for entry in found:
            entry.verify()
        self.handed_out_index = found[-1].index
        return found

    def _evict(self) -> None:
        """Drop the older half of the cache when it is full; never what is unsynced or unapplied."""
        if self._cache_bytes <= self._cache_bytes_max:
            return
        limit = min(self.stable_index, self.handed_out_index) + 1 - self._offset
        drop = 0
        while drop < limit and self._cache_bytes > self._cache_bytes_max // 2:
            self._cache_bytes -= self._tail[drop].size_bytes
            drop += 1
        del self._tail[:drop]
        self._offset += drop
