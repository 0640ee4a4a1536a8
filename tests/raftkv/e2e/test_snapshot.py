"""A follower that the log cannot bring level gets the state itself, while everybody goes on."""

import asyncio
import json
from pathlib import Path

from raftkv.client.client import Client
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.e2e.polling import until

FLAGS = [
    "--snapshot-count=20",
    "--snapshot-catchup-entries=20",
    "--heartbeat-interval=20",
    "--election-timeout=200",
]


async def fill(client: Client, first: int, last: int) -> None:
    for number in range(first, last):
        await client.put(b"k%05d" % number, b"v" * 100)


async def applied(cluster: ProcessCluster, member: int) -> int:
    async with Client([cluster.endpoints[member]]) as client:
        return (await client.status()).raftAppliedIndex


async def level_hashes(cluster: ProcessCluster) -> set[tuple[int, int]]:
    async with Client([cluster.endpoints[0]]) as client:
        revision = (await client.hash_kv()).hash_revision
    found = set()
    for endpoint in cluster.endpoints:
        async with Client([endpoint]) as client:
            answer = await client.hash_kv(revision)
            found.add((answer.hash, answer.compact_revision))
    return found


async def test_a_follower_that_was_away_while_the_log_was_cut_gets_a_snapshot(
    tmp_path: Path,
) -> None:
    with ProcessCluster(3, tmp_path, FLAGS) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        leader = await asyncio.to_thread(cluster.leader)
        away = (leader + 1) % 3
        async with Client([cluster.endpoints[leader]]) as client:
            lease = await client.lease_grant(600)
            await client.put(b"leased", b"x", lease=lease.ID)
            cluster.terminate(away)
            await fill(client, 0, 600)
            writing = asyncio.create_task(fill(client, 600, 1200))
            cluster.start(away)
            await asyncio.to_thread(cluster.wait_ready)
            await writing
            assert "installed a snapshot" in cluster.log_path(away).read_text()

            async def is_level() -> bool:
                return await applied(cluster, away) >= await applied(cluster, leader)

            await until(is_level)
        assert len(await level_hashes(cluster)) == 1
        async with Client([cluster.endpoints[away]]) as client:
            left = await client.lease_time_to_live(lease.ID, keys=True)
            assert list(left.keys) == [b"leased"]
        cluster.kill(away)
        cluster.start(away)
        await asyncio.to_thread(cluster.wait_ready)
        assert len(await level_hashes(cluster)) == 1


async def test_a_transfer_goes_on_where_the_receiver_was_killed(tmp_path: Path) -> None:
    flags = [*FLAGS, "--snapshot-send-rate=4000000"]
    with ProcessCluster(3, tmp_path, flags) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        leader = await asyncio.to_thread(cluster.leader)
        away = (leader + 1) % 3
        cluster.terminate(away)
        async with Client([cluster.endpoints[leader]]) as client:
            for number in range(120):
                await client.put(b"large%03d" % number, bytes(100_000))
        cluster.start(away)
        state = cluster.directory / cluster.names[away] / "member" / "state"

        async def is_half_there() -> bool:
            return sum(file.stat().st_size for file in state.iterdir()) > 6_000_000

        await until(is_half_there)
        cluster.kill(away)
        cluster.start(away)
        await asyncio.to_thread(cluster.wait_ready)
        assert len(await level_hashes(cluster)) == 1
        places = [
            json.loads(line)["chunk"]
            for line in cluster.log_path(away).read_text().splitlines()
            if "receiving a snapshot" in line
        ]
        assert places[0] == 0
        assert places[-1] > 0
