"""The thread that syncs the log, so that the loop never waits for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from raftkv.raft.messages import Entry, HardState
from raftkv.raft.ready import PersistWork


class WritableLog(Protocol):
    """What the writer needs of a log; `LogStore` is one."""

    def append(self, entries: tuple[Entry, ...], hard_state: HardState | None) -> None: ...

    def truncate_prefix(self, index: int) -> None: ...


class LogWriter:
    """Skeleton of the interface."""

    def __init__(
        self,
        store: WritableLog,
        loop: asyncio.AbstractEventLoop,
        on_fatal: Callable[[Exception], None],
    ) -> None: ...

    def submit(self, work: PersistWork, callback: Callable[[], None]) -> None: ...

    def truncate_prefix(self, index: int, callback: Callable[[], None] | None = None) -> None: ...

    def close(self) -> None: ...
