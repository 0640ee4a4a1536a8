"""Bring followers level that the log cannot: stream the state, paced, while everything goes on.

One task a follower. Chunks are read in a thread and go one at a time, each answered when it is
synced there, so that the memory of a transfer is two chunks on either side. A broken connection
resumes with the first chunk that the receiver lacks.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from raftkv._native.snapshot_reader import SnapshotReader
from raftkv.distribution import Distribution
from raftkv.errors import StoreIOError
from raftkv.peer.errors import OutcomeUnknown, PeerError
from raftkv.peer.transport import PeerTransport
from raftkv.raft.messages import Message, MessageType, SnapshotMetadata
from raftkv.server import snapshot_protocol
from raftkv.server.commit_latency import CommitLatency
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.membership import stored_configuration
from raftkv.server.snapshot_pace import SnapshotPace
from raftkv.server.store import Store

__all__ = ["SnapshotSender"]

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
"""Of one chunk: large enough for the sync that each costs the receiver, small enough not to hold up
the heartbeats that share the connection."""
REQUEST_TIMEOUT_S = 10.0
"""How long the receiver may take over one chunk."""
INSTALL_TIMEOUT_S = 60.0
RETRY_S = 0.5
RETRIES_MAX = 20
"""Attempts in a row without a chunk of progress before the transfer is given up."""
FLUSH_POLL_S = 0.01
LEVEL_POLL_S = 0.1
LEVEL_IDLE_S = 30.0
"""How long a follower may stand still behind its snapshot before the log is no longer kept."""
TRANSFER_BOUNDS_S = tuple(0.1 * 2**power for power in range(10))
"""Of the durations of transfers, as in etcd: 0.1 s, doubled nine times."""
TRANSFERS_MAX = 8
"""Followers that are sent a snapshot at once; the store allows 16 readers."""


class SnapshotSender:
    """All transfers from one member. Used from the loop only."""

    def __init__(
        self,
        store: Store,
        transport: PeerTransport,
        trimmer: LogTrimmer,
        loop: asyncio.AbstractEventLoop,
        *,
        bytes_per_s: int,
        latency: CommitLatency,
        match_index: Callable[[int], int],
        on_end: Callable[[int, bool], None],
    ) -> None:
        """`on_end(follower, ok)` is called once for each `begin` that was not cancelled.

        No more than `bytes_per_s` to each, and less where `latency`, that of the member's commits,
        suffers. `match_index` says up to where a follower has the log, as far as is known; -1: it
        is none.
        """
        self.sent_count = self.failed_count = 0
        self.outcomes: dict[tuple[int, bool], int] = {}
        """How many transfers to a follower ended well or not."""
        self.durations: dict[int, Distribution] = {}
        """How long those to a follower took that ended well."""
        self.chunk_bytes = CHUNK_BYTES
        self._store = store
        self._transport = transport
        self._trimmer = trimmer
        self._loop = loop
        self._bytes_per_s = bytes_per_s
        self._latency = latency
        self._match_index = match_index
        self._on_end = on_end
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._catching_up: dict[int, asyncio.Task[None]] = {}
        """Followers that have their snapshot, and are still sent what came after it."""

    @property
    def followers(self) -> list[int]:
        """Those to whom a transfer is under way."""
        return list(self._tasks)

    def begin_those_of(self, messages: Iterable[Message]) -> None:
        """Begin every transfer that is asked for among messages."""
        for message in messages:
            if message.type is MessageType.SNAPSHOT:
                self.begin(message)

    def begin(self, message: Message) -> None:
        """Do what a SNAPSHOT message of the node asks for."""
        if len(self._tasks) >= TRANSFERS_MAX or message.to in self._tasks:
            self._loop.call_soon(self._on_end, message.to, False)
            return
        if message.to in self._catching_up:
            self._catching_up.pop(message.to).cancel()
            self._trimmer.release(message.to)
        self._tasks[message.to] = self._loop.create_task(self._transfer(message))

    def cancel(self) -> None:
        """End all transfers: this member leads no more, or stops."""
        for tasks in (self._tasks, self._catching_up):
            for follower, task in tasks.items():
                task.cancel()
                self._trimmer.release(follower)
            tasks.clear()

    async def _transfer(self, message: Message) -> None:
        follower = message.to
        ok = False
        began = self._loop.time()
        try:
            await self._send(message)
            ok = True
        except Exception as error:
            # Whatever it is, the follower must not wait for this transfer for ever.
            log.warning(
                "snapshot was not sent", extra={"peer": f"{follower:x}", "reason": str(error)}
            )
        if self._tasks.pop(follower, None) is None:
            return  # cancelled
        self.sent_count += ok
        self.failed_count += not ok
        self.outcomes[follower, ok] = self.outcomes.get((follower, ok), 0) + 1
        if ok:
            times = self.durations.setdefault(follower, Distribution(TRANSFER_BOUNDS_S))
            times.observe(self._loop.time() - began)
        if ok:
            self._catching_up[follower] = self._loop.create_task(self._keep_log(follower))
        else:
            self._trimmer.release(follower)
        self._on_end(follower, ok)

    async def _keep_log(self, follower: int) -> None:
        """Keep the log that a follower reads on in, until what is kept in any case is enough.

        Without that, a leader that wrote more during the transfer than it keeps would have to send
        the next snapshot at once, and so on for ever.
        """
        furthest, moved_at = -1, self._loop.time()
        while True:
            await asyncio.sleep(LEVEL_POLL_S)
            index, now = self._match_index(follower), self._loop.time()
            if index < 0 or self._trimmer.tail_covers(index):
                break
            if index > furthest:
                furthest, moved_at = index, now
                self._trimmer.advance(follower, index)
            elif now - moved_at > LEVEL_IDLE_S:
                break
        del self._catching_up[follower]
        self._trimmer.release(follower)

    async def _send(self, message: Message) -> None:
        assert message.snapshot is not None
        reader = await self._open(message.snapshot.index)
        try:
            configuration = stored_configuration(reader.records)
            if configuration is None:
                raise StoreIOError("the state holds no membership")
            self._trimmer.hold(message.to, reader.index)
            fields = {"peer": f"{message.to:x}", "index": reader.index}
            log.info("sending a snapshot", extra=fields)
            started = self._loop.time()
            slowdown = await self._stream(message.to, reader)
            metadata = SnapshotMetadata(reader.index, reader.term, configuration)
            await self._transport.request(
                message.to,
                snapshot_protocol.INSTALL,
                snapshot_protocol.encode_install(message, metadata),
                INSTALL_TIMEOUT_S,
            )
            fields |= {"seconds": self._loop.time() - started, "slowdown": round(slowdown, 3)}
            log.info("snapshot sent", extra=fields)
        finally:
            reader.close()

    async def _open(self, index: int) -> SnapshotReader:
        """Open the state as of `index` or later, once a flush in the background has it on disk."""
        while self._store.flushed_index < index:
            self._store.maybe_flush(True)
            await asyncio.sleep(FLUSH_POLL_S)
        return self._store.snapshot_open(False)

    async def _stream(self, follower: int, reader: SnapshotReader) -> float:
        """Send all chunks, going on after whatever breaks. Raises PeerError, ValueError.

        Returns how many times as long commits took meanwhile.
        """
        pace = SnapshotPace(self._bytes_per_s, self._latency, self._loop.time())
        failures = furthest = 0
        while True:
            try:
                await self._resume(follower, reader)
                await self._send_rest(follower, reader, pace)
                return pace.slowdown
            except PeerError:
                failures = 0 if reader.next_chunk > furthest else failures + 1
                furthest = max(furthest, reader.next_chunk)
                if failures > RETRIES_MAX:
                    raise
            await asyncio.sleep(RETRY_S)

    async def _resume(self, follower: int, reader: SnapshotReader) -> None:
        """Go to the chunk that the follower lacks, or to the first."""
        answer = await self._transport.request(
            follower,
            snapshot_protocol.BEGIN,
            reader.index.to_bytes(8, "little"),
            REQUEST_TIMEOUT_S,
        )
        next_chunk, digest = snapshot_protocol.decode_place(answer)
        if not reader.seek(next_chunk, digest):
            reader.seek(0, bytes(32))

    async def _send_rest(self, follower: int, reader: SnapshotReader, pace: SnapshotPace) -> None:
        """Send from where the reader stands, no faster than the pace allows."""
        state_bytes = max(self._store.db_size()[1], 1)
        chunk = await self._read(reader)
        while chunk:
            ahead = self._loop.create_task(self._read(reader))
            try:
                await self._transport.request(
                    follower, snapshot_protocol.CHUNK, chunk, REQUEST_TIMEOUT_S
                )
                sent_share = min(reader.next_chunk * self.chunk_bytes / state_bytes, 1.0)
                log_share = self._trimmer.held_share(follower)
                wait_s = pace.sent(len(chunk), sent_share, log_share, self._loop.time())
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                pace.resumed(self._loop.time())
            except PeerError:
                await ahead
                raise
            except asyncio.CancelledError:
                ahead.cancel()
                raise
            chunk = await ahead
        if not reader.finished:
            raise OutcomeUnknown(follower, "the snapshot ended early")

    async def _read(self, reader: SnapshotReader) -> bytes:
        return await self._loop.run_in_executor(None, reader.read, self.chunk_bytes)
