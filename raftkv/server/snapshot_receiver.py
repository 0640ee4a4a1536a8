"""Receive a snapshot beside the live state, chunk by chunk, until it is whole.

The chunks are written and synced in a thread; the member goes on serving what it has. Whoever began
last is listened to: a new leader's transfer replaces an old one's.
"""

import asyncio
import logging
from collections.abc import Callable

from raftkv._native.snapshot_writer import SnapshotWriter
from raftkv.distribution import Distribution
from raftkv.errors import StoreIOError
from raftkv.server import snapshot_protocol
from raftkv.server.snapshot_protocol import SnapshotProtocolError
from raftkv.server.snapshot_sender import TRANSFER_BOUNDS_S

__all__ = ["SnapshotReceiver"]

log = logging.getLogger(__name__)


class SnapshotReceiver:
    """The one snapshot that this member may be receiving. Used from the loop only."""

    def __init__(
        self, open_writer: Callable[[], SnapshotWriter], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._open_writer = open_writer
        self._loop = loop
        self._writer: SnapshotWriter | None = None
        self._sender = 0
        self._began = 0.0
        self.durations: dict[int, Distribution] = {}
        """How long the snapshots took that came from a member, to their installation."""
        self._reserved = False
        """The snapshot is whole and about to be installed: nobody may touch it."""
        self._busy = asyncio.Lock()

    async def begin(self, sender: int) -> bytes:
        """Listen to a sender from now on; returns where it is to go on."""
        async with self._busy:
            if self._reserved:
                raise SnapshotProtocolError("a snapshot is being installed")
            if self._writer is None:
                self._began = self._loop.time()
                self._writer = await self._loop.run_in_executor(None, self._open_writer)
            self._sender = sender
            place = {"peer": f"{sender:x}", "chunk": self._writer.next_chunk}
            log.info("receiving a snapshot", extra=place)
            return snapshot_protocol.encode_place(self._writer.next_chunk, self._writer.digest)

    async def write(self, sender: int, chunk: bytes) -> bytes:
        """Take one chunk; it is synced when this returns.

        Raises SnapshotProtocolError, SnapshotError, StoreIOError: the sender begins again.
        """
        async with self._busy:
            writer = self._writer
            if writer is None or sender != self._sender or self._reserved:
                raise SnapshotProtocolError("no snapshot of this sender is under way")
            try:
                await self._loop.run_in_executor(None, writer.write, chunk)
            except StoreIOError:
                self.discard()
                raise
            return b""

    @property
    def sender(self) -> int:
        """Who is sending a snapshot; 0: nobody."""
        return self._sender if self._writer is not None else 0

    @property
    def is_installing(self) -> bool:
        """Whether one is whole and about to be installed."""
        return self._reserved

    def reserve(self, index: int, term: int) -> bool:
        """Keep the snapshot at this index for its installation; False if it is not here, whole."""
        writer = self._writer
        self._reserved = (
            writer is not None
            and writer.complete
            and not self._busy.locked()
            and (writer.index, writer.term) == (index, term)
        )
        return self._reserved

    def take(self) -> SnapshotWriter:
        """Hand over the whole snapshot, to be installed and closed by the caller."""
        assert self._writer is not None, "no snapshot was received"
        writer, self._writer = self._writer, None
        times = self.durations.setdefault(self._sender, Distribution(TRANSFER_BOUNDS_S))
        times.observe(self._loop.time() - self._began)
        self._sender = 0
        self._reserved = False
        return writer

    def release(self) -> None:
        """Drop what was kept for an installation that is not wanted after all."""
        if self._reserved:
            self.discard()

    def discard(self) -> None:
        """Drop what was received."""
        if self._writer is not None:
            self._writer.discard()
            self._writer.close()
            self._writer = None
        self._sender = 0
        self._reserved = False

    def close(self) -> None:
        """Let go of what was received; a later life goes on with it."""
        if self._writer is not None and not self._busy.locked():
            self._writer.close()
        self._writer = None
