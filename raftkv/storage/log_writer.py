"""Who syncs the log: the loop itself where that is quick, else a thread.

A hand-off to a thread and back costs about as much as a quick disk's sync, in time and processor.
So a small write is done at once, on the loop, as long as syncs were quick lately and nothing waits
in the thread; a leader begins it, sends to the followers, and only then waits for its end. Larger
writes, and all writes to a slow disk, go to the thread, so that the loop gathers the next batch
meanwhile: one hand-off each way, a `SimpleQueue` there and `call_soon_threadsafe` back. The first
error is fatal: nothing more is written, because what is on disk is no longer known.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol

from raftkv.raft.messages import Entry, HardState
from raftkv.raft.ready import PersistWork
from raftkv.storage.errors import StorageError

QUICK_SYNC_S_MAX = 0.001
"""A disk that is waited for longer than this in the mean may not hold up the loop."""

QUICK_BYTES_MAX = 16 << 10
"""Data of a write that the loop does itself."""

SYNCS_REMEMBERED = 8
"""The mean is that of about so many syncs: one slow one is enough to leave the loop alone."""

SYNC_DURATIONS_MAX = 8192
"""Durations kept for the metrics between two scrapes; older ones are forgotten."""


class WritableLog(Protocol):
    """What the writer needs of a log; `LogStore` is one."""

    def append(self, entries: tuple[Entry, ...], hard_state: HardState | None) -> None:
        """Write and sync; replaces the stored tail from `entries[0].index` on."""

    def begin_append(self, entries: tuple[Entry, ...], hard_state: HardState | None) -> None:
        """Begin what `append` does. No other write comes before its end."""

    def end_append(self) -> None:
        """Wait until it is written and synced."""

    def truncate_prefix(self, index: int) -> None:
        """Drop entries at and below `index`; synced."""

    def reset(self, index: int, term: int, hard_state: HardState | None) -> None:
        """Drop all entries; the log then begins behind a snapshot at `index`; synced."""

    @property
    def wants_spare(self) -> bool:
        """Whether `make_spare` would be of use now."""

    def make_spare(self) -> None:
        """Make room for what will be written later; may run beside everything else."""


class LogWriter:
    """The one writer of a log. All methods are called on the loop."""

    def __init__(
        self,
        store: WritableLog,
        loop: asyncio.AbstractEventLoop,
        on_fatal: Callable[[Exception], None],
    ) -> None:
        """Start the thread. `on_fatal` runs on the loop, at most once, instead of a callback."""
        self._store = store
        self._loop = loop
        self._on_fatal = on_fatal
        self._queue: SimpleQueue[tuple[Callable[[], None], Callable[[], None]] | None] = (
            SimpleQueue()
        )
        self._closed = False
        self._waiting = 0
        """Works that the thread has and whose callbacks did not run yet."""
        self._begun: tuple[PersistWork, float, float] | None = None
        """What `begin` got and `end` did not finish yet, when, and how long that took."""
        self._mean_s = 0.0
        self._spare_maker: threading.Thread | None = None
        self.sync_durations_s: deque[float] = deque(maxlen=SYNC_DURATIONS_MAX)
        """How long the latest appends took, oldest first; whoever reads may take them out."""
        self.written_bytes = 0
        """What was appended since the start."""
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def is_quick(self, work: PersistWork) -> bool:
        """Say whether `write` should do this work: it will not take long, and nothing is under way.

        False for all else, which is `submit`ted.
        """
        return (
            not self._waiting
            and self._mean_s <= QUICK_SYNC_S_MAX
            and sum(len(entry.data) for entry in work.entries) <= QUICK_BYTES_MAX
        )

    def submit(self, work: PersistWork, callback: Callable[[], None]) -> None:
        """Write and sync; then run `callback` on the loop. Works are done in order."""
        self._put(lambda: self.write(work), callback)

    def write(self, work: PersistWork) -> None:
        """Write and sync at once, what `is_quick`. Raises what the log does."""
        started = time.perf_counter()
        self._store.append(work.entries, work.hard_state)
        duration_s = time.perf_counter() - started
        self._count(work, duration_s, duration_s)

    def begin(self, work: PersistWork) -> None:
        """Begin to write what `is_quick`, while the caller does something else.

        Nothing else is asked of the writer before `end`. Raises what the log does.
        """
        started = time.perf_counter()
        self._store.begin_append(work.entries, work.hard_state)
        self._begun = work, started, time.perf_counter() - started

    def end(self) -> None:
        """Wait until what was begun is synced. Raises what the log does."""
        assert self._begun is not None
        work, started, held_s = self._begun
        waiting = time.perf_counter()
        self._store.end_append()
        now = time.perf_counter()
        self._begun = None
        self._count(work, now - started, held_s + now - waiting)

    def _count(self, work: PersistWork, duration_s: float, held_s: float) -> None:
        """Take note of a write that is synced, and of how long it held up who asked for it."""
        self.sync_durations_s.append(duration_s)
        self.written_bytes += sum(entry.size_bytes for entry in work.entries)
        self._mean_s += (held_s - self._mean_s) / SYNCS_REMEMBERED
        if self._store.wants_spare and (
            self._spare_maker is None or not self._spare_maker.is_alive()
        ):
            self._spare_maker = threading.Thread(target=self._make_spare, name="log-spare")
            self._spare_maker.start()

    def truncate_prefix(self, index: int, callback: Callable[[], None] | None = None) -> None:
        """Drop entries at and below `index`, between two appends; then run `callback`."""
        self._put(lambda: self._store.truncate_prefix(index), callback or _nothing)

    def reset(
        self, index: int, term: int, hard_state: HardState | None, callback: Callable[[], None]
    ) -> None:
        """Begin the log anew behind a snapshot, after what was submitted; then run `callback`."""
        self._put(lambda: self._store.reset(index, term, hard_state), callback)

    def close(self) -> None:
        """Finish what was submitted and end the thread; waits for the disk. Idempotent.

        Callbacks of the last works may still be scheduled on the loop.
        """
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        if self._spare_maker is not None:
            self._spare_maker.join()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the log writer is closed")

    def _put(self, write: Callable[[], None], callback: Callable[[], None]) -> None:
        self._check_open()
        assert self._begun is None, "two writes at a time"
        self._waiting += 1
        self._queue.put((write, callback))

    def _make_spare(self) -> None:
        """Failing is no harm yet: whoever needs the room tries again and hears why."""
        with suppress(StorageError):
            self._store.make_spare()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            write, callback = item
            try:
                write()
            except Exception as error:
                self._call(lambda error=error: self._on_fatal(error))  # type: ignore[misc]
                return
            self._call(lambda callback=callback: self._done(callback))  # type: ignore[misc]

    def _done(self, callback: Callable[[], None]) -> None:
        self._waiting -= 1
        callback()

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            if not self._loop.is_closed():
                raise


def _nothing() -> None:
    """The callback of those who do not care."""
