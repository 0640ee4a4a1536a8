"""The thread that syncs the log, so that the loop never waits for the disk.

One hand-off each way a sync: a `SimpleQueue` to the thread, `call_soon_threadsafe` back. The first
error is fatal: nothing more is written, because what is on disk is no longer known.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from raftkv.raft.messages import Entry, HardState
from raftkv.raft.ready import PersistWork

SYNC_DURATIONS_MAX = 8192
"""Durations kept for the metrics between two scrapes; older ones are forgotten."""


class WritableLog(Protocol):
    """What the writer needs of a log; `LogStore` is one."""

    def append(self, entries: tuple[Entry, ...], hard_state: HardState | None) -> None:
        """Write and sync; replaces the stored tail from `entries[0].index` on."""

    def truncate_prefix(self, index: int) -> None:
        """Drop entries at and below `index`; synced."""

    def reset(self, index: int, term: int, hard_state: HardState | None) -> None:
        """Drop all entries; the log then begins behind a snapshot at `index`; synced."""


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
        self.sync_durations_s: deque[float] = deque(maxlen=SYNC_DURATIONS_MAX)
        """How long the latest appends took, oldest first; whoever reads may take them out."""
        self.written_bytes = 0
        """What was appended since the start."""
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def submit(self, work: PersistWork, callback: Callable[[], None]) -> None:
        """Write and sync; then run `callback` on the loop. Works are done in order."""
        self._put(lambda: self._append(work), callback)

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

    def _put(self, write: Callable[[], None], callback: Callable[[], None]) -> None:
        if self._closed:
            raise RuntimeError("the log writer is closed")
        self._queue.put((write, callback))

    def _append(self, work: PersistWork) -> None:
        started = time.perf_counter()
        self._store.append(work.entries, work.hard_state)
        self.sync_durations_s.append(time.perf_counter() - started)
        self.written_bytes += sum(entry.size_bytes for entry in work.entries)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            write, callback = item
            try:
                write()
            except Exception as error:
                self._call(lambda error=error: self._on_fatal(error))  # type: ignore[misc]
                return
            self._call(callback)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            if not self._loop.is_closed():
                raise


def _nothing() -> None:
    """The callback of those who do not care."""
