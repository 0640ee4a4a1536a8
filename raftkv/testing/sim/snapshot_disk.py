"""What a crash leaves of a snapshot that is being received.

The writer is the real one, on LMDB, and writes each chunk at one simulated moment; the chunk is
under way for as long as a sync takes. A crash in between leaves what a disk may then hold: nothing
of the chunk, all of it, or any part of its sectors without the page that would make them valid; and
where the chunk is the first, the old file, none, an empty one or the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from raftkv._native.snapshot_writer import SnapshotWriter
from raftkv.errors import StoreIOError
from raftkv.storage.errors import SnapshotError
from raftkv.testing.sim.disk import SimulatedDisk

__all__ = ["SnapshotDisk"]

PAGE_BYTES = 4096
META_PAGES = 2
"""The first pages of an LMDB file: the newer of them says which of the others are valid."""

SECTOR_BYTES = 512


class SnapshotDisk:
    """The disk below one life's snapshot writer: what `MemberLoop` asks about work in threads."""

    def __init__(self, disk: SimulatedDisk, on_exposed: Callable[[int], None]) -> None:
        """`on_exposed` is told for how many microseconds a crash finds something half done."""
        self._disk = disk
        self._on_exposed = on_exposed
        self._file = disk.directory / "incoming.mdb"
        self._under_way: Callable[[], Any] | None = None

    def delay_us(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
        """Take note of a chunk that is about to be written; return how long it takes, else 0."""
        if not isinstance(getattr(work, "__self__", None), SnapshotWriter) or not arguments:
            return 0
        self._under_way = lambda: work(*arguments)
        delay_us = self._disk.delay_us()
        self._on_exposed(delay_us)
        return delay_us

    def work(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Do what was under way. Raises StoreIOError where the disk fails."""
        if self._under_way is not None:
            self._under_way = None
            self._disk.check()
        return work(*arguments)

    def crash(self, writer: SnapshotWriter | None) -> None:
        """End a life, with what it was receiving."""
        under_way, self._under_way = self._under_way, None
        dice = self._disk.dice
        if writer is None:
            return
        before = _content(self._file)
        if under_way is not None and dice.random() < 0.8 and not self._disk.full:
            is_first = writer.next_chunk == 0
            with suppress(SnapshotError, StoreIOError, ValueError):
                under_way()
            writer.close()
            after = _content(self._file)
            self._disk.counts["crash in a snapshot's chunk"] += 1
            if is_first or before is None or after is None:
                self._leave(dice.choice((before, None, b"", after)))
            elif dice.random() < 0.7:
                self._leave(self._torn(before, after))
        writer.close()

    def _torn(self, before: bytes, after: bytes) -> bytes:
        """Return an old file with some new sectors, but without the page that makes them valid."""
        dice = self._disk.dice
        size = dice.choice((len(before), len(after)))
        torn = bytearray(before[:size].ljust(size, b"\0"))
        for at in range(META_PAGES * PAGE_BYTES, min(size, len(after)), SECTOR_BYTES):
            if dice.random() < 0.5:
                torn[at : at + SECTOR_BYTES] = after[at : at + SECTOR_BYTES]
        return bytes(torn)

    def _leave(self, content: bytes | None) -> None:
        if content is None:
            self._file.unlink(missing_ok=True)
        else:
            self._file.write_bytes(content)


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
