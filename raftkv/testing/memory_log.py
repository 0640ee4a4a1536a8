"""A log in memory that keeps, over a simulated crash, exactly what was synced."""

from __future__ import annotations

from collections.abc import Sequence

from raftkv.raft.errors import LogCompacted, LogUnavailable
from raftkv.raft.messages import Entry, HardState


class MemoryLog:
    """The plainest log: a `LogReader` with the writing half of `LogStore`."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._base_index = 0
        self._base_term = 0
        self._hard_state = HardState()

    @property
    def first_index(self) -> int:
        return self._base_index + 1

    @property
    def last_index(self) -> int:
        return self._base_index + len(self._entries)

    def hard_state(self) -> HardState:
        return self._hard_state

    def term(self, index: int) -> int:
        if index < self._base_index:
            raise LogCompacted(index, self.first_index)
        if index > self.last_index:
            raise LogUnavailable(index, self.last_index)
        if index == self._base_index:
            return self._base_term
        return self._entries[index - self.first_index].term

    def entries(self, lo: int, hi: int, bytes_max: int) -> list[Entry]:
        if lo < self.first_index:
            raise LogCompacted(lo, self.first_index)
        if hi > self.last_index + 1:
            raise LogUnavailable(hi - 1, self.last_index)
        found: list[Entry] = []
        size = 0
        for entry in self._entries[lo - self.first_index : hi - self.first_index]:
            size += entry.size_bytes
            if size > bytes_max and found:
                break
            found.append(entry)
        return found

    def append(self, entries: Sequence[Entry], hard_state: HardState | None) -> None:
        if entries:
            first = entries[0].index
            assert self._base_index < first <= self.last_index + 1
            self._entries[first - self.first_index :] = entries
        if hard_state is not None:
            self._hard_state = hard_state

    def reset(self, index: int, term: int, hard_state: HardState | None = None) -> None:
        self._entries.clear()
        self._base_index, self._base_term = index, term
        if hard_state is not None:
            self._hard_state = hard_state

    def truncate_prefix(self, index: int) -> None:
        if index > self._base_index:
            term = self.term(index)
            del self._entries[: index - self._base_index]
            self._base_index, self._base_term = index, term
