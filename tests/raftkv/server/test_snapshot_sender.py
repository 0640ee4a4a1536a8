"""What a leader does for a follower that is sent a snapshot, and after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from raftkv.peer.transport import PeerTransport
from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Message, MessageType, SnapshotMetadata
from raftkv.server import snapshot_protocol
from raftkv.server.commit_latency import CommitLatency
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.membership import CONFIGURATION_KEY
from raftkv.server.snapshot_sender import SnapshotSender
from raftkv.server.store import Store

FOLLOWER = 2
DEADLINE_S = 10.0


class _Reader:
    """A snapshot at entry 100 of one chunk."""

    index, term, next_chunk, finished = 100, 3, 0, True
    records = {CONFIGURATION_KEY: Configuration(frozenset({1, FOLLOWER})).encode()}

    def __init__(self) -> None:
        self._chunks = [b"chunk", b""]

    def seek(self, _next: int, _digest: bytes) -> bool:
        return True

    def read(self, _size: int) -> bytes:
        return self._chunks.pop(0)

    def close(self) -> None:
        self._chunks.clear()


class _Store:
    flushed_index = 100

    def db_size(self) -> tuple[int, int]:
        return 8192, 4096

    def snapshot_open(self, _flush: bool) -> _Reader:
        return _Reader()


class _Transport:
    """A follower that takes everything."""

    async def request(self, _peer: int, kind: str, _payload: bytes, _timeout_s: float) -> bytes:
        begins = kind == snapshot_protocol.BEGIN
        return snapshot_protocol.encode_place(0, bytes(32)) if begins else b""


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


def _message() -> Message:
    metadata = SnapshotMetadata(100, 3, Configuration(frozenset({1, FOLLOWER})))
    return Message(MessageType.SNAPSHOT, FOLLOWER, 1, 3, snapshot=metadata)


async def test_the_log_is_kept_until_the_follower_is_level() -> None:
    """The snapshot has arrived, and the follower is further behind than the log's usual tail."""
    trimmer = LogTrimmer(1, 10)
    held = {FOLLOWER: 100}
    ended: list[tuple[int, bool]] = []
    sender = SnapshotSender(
        cast(Store, _Store()),
        cast(PeerTransport, cast(Any, _Transport())),
        trimmer,
        asyncio.get_running_loop(),
        bytes_per_s=1 << 30,
        latency=CommitLatency(),
        match_index=lambda follower: held[follower],
        on_end=lambda follower, ok: ended.append((follower, ok)),
    )
    trimmer.applied(100)
    sender.begin(_message())
    await _until(lambda: ended == [(FOLLOWER, True)])
    trimmer.applied(500)
    assert trimmer.due(500) == 100
    held[FOLLOWER] = 300
    await _until(lambda: trimmer.due(500) == 300)
    held[FOLLOWER] = 500
    await _until(lambda: trimmer.due(500) == 490)
    sender.cancel()


async def test_nothing_is_kept_once_another_leads() -> None:
    trimmer = LogTrimmer(1, 10)
    ended: list[tuple[int, bool]] = []
    sender = SnapshotSender(
        cast(Store, _Store()),
        cast(PeerTransport, cast(Any, _Transport())),
        trimmer,
        asyncio.get_running_loop(),
        bytes_per_s=1 << 30,
        latency=CommitLatency(),
        match_index=lambda _follower: 100,
        on_end=lambda follower, ok: ended.append((follower, ok)),
    )
    trimmer.applied(100)
    sender.begin(_message())
    await _until(lambda: bool(ended))
    trimmer.applied(500)
    sender.cancel()
    assert trimmer.due(500) == 490
