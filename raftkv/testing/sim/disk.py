"""The disk of one member: what survives a crash, and how long it takes.

The log keeps what was synced. A write under way at a crash is there in whole or not at all, as the
checksum over each write of the log promises. The state machine is
the real one, on LMDB in memory, whose flushes happen at simulated times; a crash forgets what was
not flushed, and a flush that has not happened.
"""

from __future__ import annotations

import errno
import random
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raftkv.errors import StoreIOError
from raftkv.raft.messages import HardState
from raftkv.raft.ready import PersistWork
from raftkv.testing.memory_log import MemoryLog
from raftkv.testing.sim.loop import MemberLoop, ProcessEnded
from raftkv.testing.sim.scheduler import MS, Scheduler

__all__ = ["SimulatedDisk", "SimulatedFlushPool", "SimulatedWriter"]

QUICK = 0.5
"""Part of the writes that a member does itself, where it may."""

ENDS = 0.002
"""The part of these writes in which the process ends: what comes after them never happens."""


@dataclass(slots=True)
class SimulatedDisk:
    """What a member finds again after a crash."""

    scheduler: Scheduler
    directory: Path
    dice: random.Random
    log: MemoryLog = field(default_factory=MemoryLog)
    sync_us_max: int = 3 * MS
    flush_us_max: int = 5 * MS
    failing: int = 0
    """Writes that will fail from now on."""
    full: bool = False
    may_end: bool = False
    """Whether a process may end in the middle of a write that its loop waits for."""
    counts: Counter[str] = field(default_factory=Counter)
    """What crashes did to it."""

    def check(self) -> None:
        """Raise what a write meets. Raises StoreIOError."""
        if self.full:
            raise StoreIOError(errno.ENOSPC, "no space left on the simulated disk")
        if self.failing:
            self.failing -= 1
            raise StoreIOError(errno.EIO, "the simulated disk failed")

    def delay_us(self) -> int:
        """Return how long the next sync takes."""
        return 100 + self.dice.randrange(self.sync_us_max)

    def flush_delay_us(self) -> int:
        """Return how long the next flush of the state takes."""
        return self.delay_us() + self.dice.randrange(self.flush_us_max)


class SimulatedWriter:
    """What a member takes for its `LogWriter`, for one life: one sync after the other."""

    def __init__(
        self, disk: SimulatedDisk, loop: MemberLoop, on_fatal: Callable[[Exception], None]
    ) -> None:
        self._disk = disk
        self._loop = loop
        self._on_fatal = on_fatal
        self._queue: deque[tuple[Callable[[], None], Callable[[], object]]] = deque()
        self._begun: PersistWork
        self._busy = False
        self._dead = False
        """Does nothing any more: it failed, or its process ended."""
        self._closed = False

    def is_quick(self, work: PersistWork) -> bool:
        """Say, by the dice, whether the member waits for this sync; not while another goes on."""
        return not (self._busy or self._dead) and self._disk.dice.random() < QUICK

    def write(self, work: PersistWork) -> None:
        """Write and sync in no time. Raises StoreIOError, or ProcessEnded in the middle of it."""
        try:
            self._disk.check()
        except StoreIOError:
            self._dead = True
            raise
        dice = self._disk.dice
        ends = self._disk.may_end and dice.random() < ENDS
        if not ends or dice.random() < 0.5:
            self._write(work)
        self._disk.counts["write on the loop"] += 1
        if ends:
            self._disk.counts["crash in a write on the loop"] += 1
            raise ProcessEnded

    def begin(self, work: PersistWork) -> None:
        """Do nothing yet. That the process ends before `end` is that it ends in the write, and that
        the network loses what it has sent meanwhile: both happen.
        """
        self._begun = work

    def end(self) -> None:
        """Do what was begun as `write` does."""
        self.write(self._begun)

    def submit(self, work: PersistWork, callback: Callable[[], None]) -> None:
        """Write and sync, then call back on the member's loop."""
        self._put(lambda: self._write(work), callback)

    def truncate_prefix(self, index: int, callback: Callable[[], None] | None = None) -> None:
        """Drop entries at and below `index`, between two appends."""
        self._put(lambda: self._disk.log.truncate_prefix(index), callback or _nothing)

    def reset(
        self, index: int, term: int, hard_state: HardState | None, callback: Callable[[], None]
    ) -> None:
        """Drop all entries, between two appends: the log begins behind a snapshot."""
        self._put(lambda: self._disk.log.reset(index, term, hard_state), callback)

    def close(self) -> None:
        """Take no more work."""
        self._dead = self._closed = True

    def crash(self) -> None:
        """End: the write under way may or may not have become valid; later ones were not begun."""
        self._dead = self._closed = True
        if self._busy and self._queue and self._disk.dice.random() < 0.5 and not self._disk.full:
            self._queue[0][0]()
        elif self._busy and self._queue:
            self._disk.counts["crash loses a write"] += 1
        self._queue.clear()

    def _write(self, work: PersistWork) -> None:
        self._disk.log.append(work.entries, work.hard_state)

    def _put(self, write: Callable[[], None], callback: Callable[[], object]) -> None:
        """Take a work. What comes between an error and its report is taken, and never done."""
        if self._closed:
            raise RuntimeError("the log writer is closed")
        if self._dead:
            return
        self._queue.append((write, callback))
        if not self._busy:
            self._begin()

    def _begin(self) -> None:
        self._busy = True
        self._disk.scheduler.later(self._disk.delay_us(), self._finish)

    def _finish(self) -> None:
        if self._dead:
            return
        write, callback = self._queue[0]
        try:
            self._disk.check()
        except StoreIOError as error:
            self._dead = True
            self._loop.call_soon(self._on_fatal, error)
            return
        write()
        self._queue.popleft()
        self._busy = False
        self._loop.call_soon(callback)
        if self._queue:
            self._begin()


class SimulatedFlushPool(Executor):
    """Where a state machine's flushes and compaction steps run: at simulated times."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._pending: list[_Job] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do something a little later; whoever waits for it before has it done at once."""
        job = _Job(self._disk, lambda: fn(*args, **kwargs))
        self._pending = [one for one in self._pending if not one.done()] + [job]
        self._disk.scheduler.later(self._disk.flush_delay_us(), job.work)
        return job

    def crash(self) -> None:
        """Forget what has not been done."""
        for job in self._pending:
            job.drop()
        self._pending.clear()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do what is still to be done."""
        for job in self._pending:
            job.work()
        self._pending.clear()


class _Job(Future[Any]):
    """One piece of work, done once."""

    def __init__(self, disk: SimulatedDisk, call: Callable[[], Any]) -> None:
        super().__init__()
        self._disk = disk
        self._call: Callable[[], Any] | None = call

    def work(self) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        try:
            self._disk.check()
            self.set_result(call())
        except Exception as error:
            self.set_exception(error)

    def drop(self) -> None:
        self._call = None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.work()
        return super().exception(timeout)

    def result(self, timeout: float | None = None) -> Any:
        self.work()
        return super().result(timeout)


def _nothing() -> None:
    """The callback of those who do not care."""
