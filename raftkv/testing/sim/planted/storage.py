"""Bugs in what is on disk, when, and in what order; and in the state machine's history.

The state machine is native code that cannot be patched: a stand-in around it makes the mistake.
"""

from __future__ import annotations

from typing import Any

from raftkv._native.mvcc_store import MvccStore
from raftkv.errors import ErrorCode, StoreError
from raftkv.raft.messages import HardState
from raftkv.raft.ready import PersistWork
from raftkv.testing.sim import machine as machine_module
from raftkv.testing.sim.disk import SimulatedWriter
from raftkv.testing.sim.planted.patch import Patch


class _Flawed:
    """The real store but for one flaw, which subclasses add."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._store = _HONEST_STORE(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


_HONEST_STORE = MvccStore


def apply_twice_after_restart(patch: Patch) -> None:
    """The applied index that is found at a restart is older than the state."""

    class Store(_Flawed):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._behind = min(2, self._store.applied_index)

        @property
        def applied_index(self) -> int:
            return int(self._store.applied_index) - self._behind

        def apply(self, index: int, *rest: Any) -> Any:
            return self._store.apply(index + self._behind, *rest)

        def apply_empty(self, index: int, term: int) -> None:
            self._store.apply_empty(index + self._behind, term)

    patch.set(machine_module, "MvccStore", Store)


def skip_events_at_compaction(patch: Patch) -> None:
    """A watcher whose next revision was compacted goes on behind it, and is not told."""

    class Store(_Flawed):
        def events(self, start: int, end: int, bytes_max: int) -> Any:
            return self._store.events(max(start, self._store.compact_revision), end, bytes_max)

    patch.set(machine_module, "MvccStore", Store)


def repeat_events(patch: Patch) -> None:
    """A watcher that catches up gets the revision before its start once more."""

    class Store(_Flawed):
        def events(self, start: int, end: int, bytes_max: int) -> Any:
            try:
                return self._store.events(max(start - 1, 2), end, bytes_max)
            except StoreError as error:
                if error.code is not ErrorCode.COMPACTED:
                    raise
                return self._store.events(start, end, bytes_max)

    patch.set(machine_module, "MvccStore", Store)


def sync_late(patch: Patch) -> None:
    """The disk says that a write is synced when only the next one makes it so."""

    def write(self: Any, work: PersistWork) -> None:
        last = self._disk.log.last_index
        honest(self, work)
        _HELD[id(self)] = (last, work)

    def crash(self: Any) -> None:
        honest_crash(self)
        last, work = _HELD.pop(id(self), (0, None))
        log = self._disk.log
        if work is not None and work.entries and work.entries[0].index == last + 1:
            del log._entries[last + 1 - log.first_index :]

    honest = patch.set(SimulatedWriter, "_write", write)
    honest_crash = patch.set(SimulatedWriter, "crash", crash)
    _HELD.clear()


_HELD: dict[int, tuple[int, PersistWork]] = {}


def reorder_syncs(patch: Patch) -> None:
    """Term and vote reach the disk one write later than the entries of their term."""

    def write(self: Any, work: PersistWork) -> None:
        late = _LATE.get(id(self))
        _LATE[id(self)] = work.hard_state
        honest(self, PersistWork(late, work.entries))

    honest = patch.set(SimulatedWriter, "_write", write)
    _LATE.clear()


_LATE: dict[int, HardState | None] = {}


def tear_a_write(patch: Patch) -> None:
    """What makes a write valid reaches the disk before the rest of it; a crash comes between."""

    def crash(self: Any) -> None:
        if self._busy and self._queue and not self._disk.full:
            work = _WORKS.get(id(self))
            if work is not None and work.entries:
                base = work.entries[0].index - 1
                self._disk.log.append(work.entries[:-1], work.hard_state)
                del self._disk.log._entries[base + 1 - self._disk.log.first_index :]
        self._dead = True
        self._queue.clear()

    def submit(self: Any, work: PersistWork, callback: Any) -> None:
        _WORKS[id(self)] = work
        honest(self, work, callback)

    patch.set(SimulatedWriter, "crash", crash)
    honest = patch.set(SimulatedWriter, "submit", submit)
    _WORKS.clear()


_WORKS: dict[int, PersistWork] = {}


def flush_late(patch: Patch) -> None:
    """A flush is said to be done before it is."""
    from raftkv.testing.sim.disk import _Job

    def work(self: Any) -> None:
        if not self.done():
            self.set_result(None)

    patch.set(_Job, "work", work)
