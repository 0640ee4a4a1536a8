"""Maintenance.Snapshot: the member's state as a bbolt file, for etcd's tools and ours.

The file is made while it is sent (`_native/bbolt_emitter`), from one LMDB snapshot, in a thread,
no faster than the client takes it; writes go on beside it. The last message is the SHA-256 of all
that was sent before.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from typing import TypeVar

from raftkv._native.bbolt_emitter import BboltEmitter
from raftkv.errors import GrpcStatus
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.grpc_status import RpcError
from raftkv.rpc.registry import Call, ServiceRegistry
from raftkv.server.etcd_buckets import buckets_of
from raftkv.server.member import Member
from raftkv.version import ETCD_VERSION

__all__ = ["SnapshotService"]

log = logging.getLogger(__name__)

PIECE_BYTES = 32 << 10
"""Of one message, as etcd sends them."""
READ_BYTES = 1 << 20
"""Made at a time, one such ahead of what is sent."""
BYTES_PER_S_MAX = 64 << 20
"""Of one snapshot, so that other clients hardly notice: a backup is in no hurry."""
MEASURE_ROWS = 20_000
"""Gone through at a time while the file is measured: some milliseconds, so that a call that was
cancelled lets go soon."""
CALLS_MAX = 4
"""Snapshots sent at once: each keeps the pages of its moment from being reused, and followers need
readers, too."""
FLUSH_POLL_S = 0.01
STALL_S_MAX = 60.0
"""A client that takes nothing for so long is given up: its snapshot keeps old pages from reuse, and
the state's file grows by what is rewritten meanwhile."""

Result = TypeVar("Result")
SnapshotCall = Call[pb.SnapshotRequest, pb.SnapshotResponse]


class SnapshotService:
    """Serves Maintenance.Snapshot of one member."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._calls = 0

    def register(self, registry: ServiceRegistry) -> None:
        """Add the method."""
        registry.streaming("/etcdserverpb.Maintenance/Snapshot", pb.SnapshotRequest, self.snapshot)

    async def snapshot(self, call: SnapshotCall) -> None:
        """Stream what this member has applied, or a little more."""
        if self._calls >= CALLS_MAX:
            text = f"etcdserver: {CALLS_MAX} snapshots are being sent already"
            raise RpcError(GrpcStatus.RESOURCE_EXHAUSTED, text)
        self._calls += 1
        try:
            await self._flushed(self._member.store.applied_index)
            await self._send(call)
        except ValueError as error:
            # A snapshot from the leader has replaced the state, or too many readers have it open.
            text = f"etcdserver: no snapshot for now, ask again: {error}"
            raise RpcError(GrpcStatus.UNAVAILABLE, text) from error
        finally:
            self._calls -= 1

    async def _flushed(self, index: int) -> None:
        """Wait until the state on disk covers `index`, by a flush in the background."""
        store = self._member.store
        while store.flushed_index < index:
            store.maybe_flush(True)
            await asyncio.sleep(FLUSH_POLL_S)

    async def _send(self, call: SnapshotCall) -> None:
        store = self._member.store
        loop = asyncio.get_running_loop()
        started = loop.time()
        # Asked before, so that the file does not claim what its own rows do not show.
        compacted_revision = store.compacted_revision
        reader = store.snapshot_open(False)
        try:
            emitter = BboltEmitter(reader, buckets_of(reader, compacted_revision))
            while not await _in_thread(lambda: emitter.measure(MEASURE_ROWS)):
                pass
            log.info(
                "sending a snapshot to a client",
                extra={"revision": reader.revision, "bytes": emitter.total_bytes},
            )
            await _stream(call, emitter, self._member.header(reader.revision))
            log.info("snapshot sent to a client", extra={"seconds": loop.time() - started})
        finally:
            reader.close()


async def _stream(call: SnapshotCall, emitter: BboltEmitter, header: pb.ResponseHeader) -> None:
    """Send a measured file: made in a thread, one part ahead, and paced."""
    loop = asyncio.get_running_loop()
    digest = hashlib.sha256()

    def read() -> bytes:
        data = emitter.read(READ_BYTES)
        digest.update(data)
        return data

    left = emitter.total_bytes
    data = await _in_thread(read)
    due = loop.time()
    while data:
        ahead = asyncio.ensure_future(_in_thread(read))
        try:
            for at in range(0, len(data), PIECE_BYTES):
                piece = data[at : at + PIECE_BYTES]
                left -= len(piece)
                await _send_in_time(call, _message(header, left, piece))
            due = max(due + len(data) / BYTES_PER_S_MAX, loop.time())
            await asyncio.sleep(due - loop.time())
        finally:
            data = await ahead
    await _send_in_time(call, _message(header, 0, digest.digest()))


async def _send_in_time(call: SnapshotCall, message: pb.SnapshotResponse) -> None:
    try:
        async with asyncio.timeout(STALL_S_MAX):
            await call.send(message)
    except TimeoutError as error:
        text = f"etcdserver: the client took nothing of the snapshot for {STALL_S_MAX:g} s"
        raise RpcError(GrpcStatus.DEADLINE_EXCEEDED, text) from error


def _message(header: pb.ResponseHeader, remaining: int, blob: bytes) -> pb.SnapshotResponse:
    return pb.SnapshotResponse(
        header=header, remaining_bytes=remaining, blob=blob, version=ETCD_VERSION
    )


async def _in_thread(work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(None, work)
