"""Watches, leases and reads do not notice that the leader changed."""

import asyncio
from pathlib import Path

import pytest

from raftkv.client import Client, ClientError
from raftkv.testing.process_cluster import ProcessCluster

pytestmark = pytest.mark.slow

FLAGS = ["--log-level=warn", "--heartbeat-interval=50", "--election-timeout=500"]


async def test_a_watch_at_a_follower_sees_every_write_across_a_leaders_death(
    tmp_path: Path,
) -> None:
    with ProcessCluster(3, tmp_path, FLAGS) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        leader = await asyncio.to_thread(cluster.leader)
        follower = (leader + 1) % 3
        acknowledged: list[bytes] = []
        seen: list[tuple[int, bytes]] = []
        async with (
            Client([cluster.endpoints[follower]], timeout_s=10) as client,
            client.watch(b"w/", b"w0", start_revision=1) as watch,
        ):
            for number in range(200):
                if number == 100:
                    cluster.kill(leader)
                key = b"w/%04d" % number
                await client.put(key, b"x")
                acknowledged.append(key)
            async with asyncio.timeout(10):
                async for response in watch:
                    seen += [(event.kv.mod_revision, event.kv.key) for event in response.events]
                    if seen and seen[-1][1] == acknowledged[-1]:
                        break
    revisions = [revision for revision, _ in seen]
    assert revisions == list(range(revisions[0], revisions[0] + len(revisions)))
    assert [key for _, key in seen] == acknowledged


async def test_a_lease_kept_alive_at_a_follower_survives_its_leader_and_then_expires(
    tmp_path: Path,
) -> None:
    with ProcessCluster(3, tmp_path, FLAGS) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        leader = await asyncio.to_thread(cluster.leader)
        follower = (leader + 1) % 3
        loop = asyncio.get_running_loop()
        async with Client([cluster.endpoints[follower]], timeout_s=10) as client:
            lease = await client.lease_grant(2)
            await client.put(b"leased", b"x", lease=lease.ID)
            began = loop.time()
            cluster.kill(leader)
            while loop.time() - began < lease.TTL * 2:
                answer = await client.lease_keep_alive_once(lease.ID)
                assert lease.TTL == answer.TTL
                await asyncio.sleep(0.2)
            assert (await client.get(b"leased")).count == 1
            async with asyncio.timeout(10):
                while (await client.get(b"leased")).count:
                    continue
            assert (await client.lease_keep_alive_once(lease.ID)).TTL == 0


async def test_a_paused_leader_is_replaced_and_serves_nothing_stale(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, FLAGS) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        paused = await asyncio.to_thread(cluster.leader)
        other = (paused + 1) % 3
        loop = asyncio.get_running_loop()
        async with (
            Client([cluster.endpoints[other]], timeout_s=10) as client,
            Client([cluster.endpoints[paused]], timeout_s=10) as stale,
        ):
            await client.put(b"k", b"old")
            assert (await stale.get(b"k")).kvs[0].value == b"old"
            cluster.pause(paused)
            began = loop.time()
            await write_until_taken(client, b"k", b"new")
            assert loop.time() - began < 3
            read = asyncio.create_task(stale.get(b"k"))
            await asyncio.sleep(0)
            cluster.resume(paused)
            assert (await read).kvs[0].value == b"new"


async def write_until_taken(client: Client, key: bytes, value: bytes) -> None:
    """Put, again where the outcome is unknown: the value is the same."""
    async with asyncio.timeout(10):
        while True:
            try:
                await client.put(key, value)
                return
            except ClientError:
                await asyncio.sleep(0.02)
