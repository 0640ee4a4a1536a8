"""Members that stop, crash or fall behind come back with everything."""

import asyncio
from pathlib import Path

import pytest

from raftkv._native.log_store import LogStore
from raftkv.client import Client
from raftkv.testing.process_cluster import ProcessCluster

pytestmark = pytest.mark.slow


async def put_many(endpoint: str, prefix: bytes, count: int, size: int = 16) -> None:
    """Write `count` keys, many at a time."""
    async with Client([endpoint], timeout_s=20) as client:
        for start in range(0, count, 500):
            await asyncio.gather(
                *(
                    client.put(prefix + b"%06d" % number, b"v" * size)
                    for number in range(start, min(start + 500, count))
                )
            )


async def count_keys(endpoint: str, prefix: bytes) -> int:
    async with Client([endpoint], timeout_s=20) as client:
        return (await client.get(prefix, prefix + b"\xff", limit=1)).count


async def test_a_lone_member_keeps_everything_through_crashes(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        for life in range(3):
            await put_many(cluster.endpoints[0], b"life%d/" % life, 200)
            async with Client(cluster.endpoints) as client:
                lease = await client.lease_grant(600)
                await client.put(b"leased", b"x", lease=lease.ID)
                before = await client.get(b"\0", b"\0")
            cluster.kill(0)
            cluster.start(0)
            await asyncio.to_thread(cluster.wait_ready)
            assert await count_keys(cluster.endpoints[0], b"life") == 200 * (life + 1)
            async with Client(cluster.endpoints) as client:
                after = await client.get(b"\0", b"\0")
                assert after.kvs == before.kvs
                assert after.header.revision == before.header.revision
                told = await client.lease_time_to_live(lease.ID, keys=True)
                assert (told.grantedTTL, list(told.keys)) == (600, [b"leased"])
                members = await client.member_list()
                assert [member.name for member in members.members] == ["m0"]


async def test_a_cluster_that_dies_whole_comes_back_whole(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        await put_many(cluster.endpoints[0], b"k", 1000)
        for member in range(3):
            cluster.kill(member)
        for member in range(3):
            cluster.start(member)
        await asyncio.to_thread(cluster.wait_ready)
        for endpoint in cluster.endpoints:
            assert await count_keys(endpoint, b"k") == 1000


async def test_a_member_that_was_away_finds_what_it_needs_in_the_log(tmp_path: Path) -> None:
    """The log is not trimmed beyond what the absent member holds, and is once it is back."""
    with ProcessCluster(3, tmp_path, ["--snapshot-count=50"]) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        leader = await asyncio.to_thread(cluster.leader)
        away = (leader + 1) % 3
        cluster.kill(away)
        async with Client([cluster.endpoints[leader]]) as client:
            for number in range(600):
                await client.put(b"k%04d" % number, b"x" * 100)
            hashes = [await client.hash_kv()]
        cluster.start(away)
        await asyncio.to_thread(cluster.wait_ready)
        assert await count_keys(cluster.endpoints[away], b"k") == 600
        revision = hashes[0].hash_revision
        for endpoint in cluster.endpoints:
            async with Client([endpoint]) as client:
                hashes.append(await client.hash_kv(revision))
        assert len({(answer.hash, answer.compact_revision) for answer in hashes}) == 1


async def test_the_log_is_trimmed_and_nothing_is_lost_with_it(tmp_path: Path) -> None:
    flags = [
        "--snapshot-count=20",
        "--snapshot-catchup-entries=20",
        "--heartbeat-interval=10",
        "--election-timeout=100",
    ]
    with ProcessCluster(1, tmp_path, flags) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        async with Client(cluster.endpoints) as client:
            for number in range(500):
                await client.put(b"k%04d" % number, b"x")
        cluster.kill(0)
        log = LogStore(str(cluster.directory / "m0" / "member" / "log"))
        kept = log.last_index - log.first_index
        log.close()
        assert kept < 400
        cluster.start(0)
        await asyncio.to_thread(cluster.wait_ready)
        assert await count_keys(cluster.endpoints[0], b"k") == 500


async def test_a_leader_that_is_asked_to_stop_hands_over(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        leader = await asyncio.to_thread(cluster.leader)
        other = (leader + 1) % 3
        async with Client([cluster.endpoints[other]], timeout_s=10) as client:
            loop = asyncio.get_running_loop()
            assert await asyncio.to_thread(cluster.terminate, leader) == 0
            began = loop.time()
            await client.put(b"k", b"v")
            assert loop.time() - began < 0.5
