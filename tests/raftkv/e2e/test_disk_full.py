"""A member whose disk takes no more says so, stops, and comes back with all it promised."""

import asyncio
import resource
from pathlib import Path

import pytest

from raftkv.cli import ExitCode
from raftkv.client import Client, ClientError
from raftkv.testing.process_cluster import ProcessCluster

pytestmark = pytest.mark.slow

ROOM_BYTES = 1 << 20


async def test_a_member_that_cannot_write_its_log_stops_and_loses_nothing(tmp_path: Path) -> None:
    """The limit on file size plays the full disk."""
    with ProcessCluster(1, tmp_path) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        (log,) = (cluster.directory / "m0" / "member" / "log").glob("*.log")
        limit = log.stat().st_size + ROOM_BYTES
        resource.prlimit(cluster.pid(0), resource.RLIMIT_FSIZE, (limit, limit))
        acknowledged: list[bytes] = []
        with pytest.raises(ClientError):
            await put_forever(cluster.endpoints, acknowledged)
        assert await asyncio.to_thread(cluster.wait, 0) == ExitCode.STORAGE
        assert "stopped by a fatal error" in cluster.log_tail(0)
        cluster.start(0)
        await asyncio.to_thread(cluster.wait_ready)
        async with Client(cluster.endpoints) as client:
            found = await client.get(b"k", b"l")
        assert [kv.key for kv in found.kvs][: len(acknowledged)] == acknowledged


async def put_forever(endpoints: list[str], acknowledged: list[bytes]) -> None:
    async with Client(endpoints, timeout_s=5) as client:
        for number in range(100_000):
            key = b"k%06d" % number
            await client.put(key, b"x" * 10_000)
            acknowledged.append(key)
