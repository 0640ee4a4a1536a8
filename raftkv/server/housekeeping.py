"""Keep log, state and history of one member bounded: trim, flush, compact."""

import logging
from collections.abc import Callable
from typing import Protocol

from raftkv._native.waiter import Waiter
from raftkv.config import Config
from raftkv.distribution import Distribution
from raftkv.raft.messages import HardState
from raftkv.server.auto_compaction import AutoCompaction
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.store import Store

__all__ = ["Housekeeping", "TrimmableLog"]

log = logging.getLogger(__name__)

APPLY_BOUNDS_S = tuple(0.0001 * 2**power for power in range(20))
"""As in etcd: 0.1 ms, doubled nineteen times."""


class TrimmableLog(Protocol):
    """Where entries are dropped from: the log writer, between two appends."""

    def truncate_prefix(self, index: int, callback: Callable[[], None] | None = None) -> None: ...
    def reset(
        self, index: int, term: int, hard_state: HardState | None, callback: Callable[[], None]
    ) -> None: ...


class Housekeeping:
    """What is to be done once a tick. Raises what the disk raises: the member then stops."""

    def __init__(
        self, config: Config, store: Store, log: TrimmableLog, trimmer: LogTrimmer, now: float
    ) -> None:
        self._store = store
        self._log = log
        self._trimmer = trimmer
        self._behind_max = max(1, config.snapshot_count // 2)
        """Applied entries that may wait for a flush: a restart applies them again."""
        self._warning_apply_s = config.warning_apply_s
        self._compaction = AutoCompaction(config.compaction, now)
        self.apply_times = Distribution(APPLY_BOUNDS_S)
        """How long it took to apply what one turn had to."""
        self.slow_apply_count = 0
        self._physical: list[tuple[int, Waiter, bytes]] = []
        """Compactions that are applied and wait for the disk: revision, waiter, answer."""

    def applied(self, index: int, size_bytes: int, took_s: float) -> None:
        """Take note of how far this member applied, how many bytes that was, how long it took."""
        self._trimmer.applied(index, size_bytes)
        self.apply_times.observe(took_s)
        if took_s > self._warning_apply_s > 0:
            self.slow_apply_count += 1
            log.warning(
                "apply request took too long",
                extra={
                    "took": f"{took_s * 1000:.1f}ms",
                    "expected_duration": f"{self._warning_apply_s * 1000:g}ms",
                    "index": index,
                    "size_bytes": size_bytes,
                },
            )

    def snapshot_installed(self, index: int) -> None:
        """Take note that the log begins anew behind `index`."""
        self._trimmer.begin_at(index + 1)

    def answer_when_compacted(self, revision: int, waiter: Waiter, message: bytes) -> None:
        """Reply once superseded history up to `revision` is off the disk."""
        self._physical.append((revision, waiter, message))

    def tick(self, now: float) -> int:
        """Do what is due; returns the revision to compact to by schedule, 0 for none."""
        store = self._store
        drop = self._trimmer.due(store.flushed_index)
        if drop:
            self._log.truncate_prefix(drop)
        store.maybe_flush(store.applied_index - store.flushed_index >= self._behind_max)
        self._answer_compactions()
        return self._compaction.due(now, store.revision)

    def _answer_compactions(self) -> None:
        waiting, self._physical = self._physical, []
        for revision, waiter, message in waiting:
            if self._store.compacted_revision >= revision:
                waiter.reply(message)
            else:
                self._physical.append((revision, waiter, message))
