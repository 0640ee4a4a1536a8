"""A member whose state differs is found by its hash, and then nobody serves keys."""

import asyncio
from pathlib import Path

import pytest

from raftkv._native.mvcc_store import MvccStore
from raftkv.cli import ExitCode
from raftkv.client.client import Client
from raftkv.client.errors import ClientError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.server.command import CommandKind
from raftkv.server.identity import cluster_id_of, member_id_of
from raftkv.testing.etcdctl import Etcdctl, installed
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.e2e.polling import until

pytestmark = pytest.mark.skipif(not installed(), reason="needs a stock etcdctl")

FLAGS = [
    "--heartbeat-interval=20",
    "--election-timeout=200",
    "--corrupt-check-time=300ms",
    "--snapshot-count=2",
]


def damage(cluster: ProcessCluster, member: int) -> None:
    """Change a value in the stopped member's state without a log entry, as bad memory would."""
    urls = [f"http://127.0.0.1:{port}" for port in cluster.peer_ports]
    ids = [member_id_of([url], "etcd-cluster") for url in urls]
    store = MvccStore(
        str(cluster.directory / cluster.names[member] / "member" / "state"),
        cluster_id=cluster_id_of(ids),
        member_id=ids[member],
    )
    request = pb.PutRequest(key=b"a", value=b"damaged").SerializeToString()
    head = (1).to_bytes(8, "little") + (1).to_bytes(8, "little") + (1).to_bytes(4, "little")
    command = bytes((CommandKind.PUT,)) + len(request).to_bytes(4, "little") + request
    index, term = store.applied_index, store.applied_term
    store.apply(index + 1, term, head + command, False)
    store.flush()
    store.close()


async def test_a_member_whose_state_differs_does_not_start(tmp_path: Path) -> None:
    """With --initial-corrupt-check it compares before it serves; one that agrees starts."""
    flags = ["--heartbeat-interval=20", "--election-timeout=200", "--snapshot-count=2"]
    with ProcessCluster(3, tmp_path, [*flags, "--experimental-initial-corrupt-check"]) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        leader = await asyncio.to_thread(cluster.leader)
        good, bad = (leader + 1) % 3, (leader + 2) % 3
        async with Client([cluster.endpoints[leader]]) as client:
            for number in range(20):
                await client.put(b"a", b"%d" % number)
            cluster.terminate(bad)
            damage(cluster, bad)
            await client.put(b"b", b"x")
        cluster.terminate(good)
        for member in (good, bad):
            cluster.start(member)
        assert await asyncio.to_thread(cluster.wait, bad, 20) == ExitCode.STORAGE
        assert "hash to" in cluster.log_tail(bad)
        await asyncio.to_thread(cluster.wait_ready, [good])
        assert "compared with other members" in cluster.log_path(good).read_text()


async def test_a_member_whose_state_differs_raises_the_alarm(tmp_path: Path) -> None:
    ctl: Etcdctl = installed()[-1]
    with ProcessCluster(3, tmp_path, FLAGS) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        leader = await asyncio.to_thread(cluster.leader)
        bad = (leader + 1) % 3
        everyone = ",".join(cluster.endpoints)
        async with Client([cluster.endpoints[leader]]) as client:
            for number in range(20):
                await client.put(b"a", b"%d" % number)
            await asyncio.sleep(0)
            cluster.terminate(bad)
            damage(cluster, bad)
            # The entry that the damage took the place of, as far as the damaged member can tell.
            await client.put(b"b", b"x")
            cluster.start(bad)

            async def is_raised() -> bool:
                return "alarm:CORRUPT" in await asyncio.to_thread(
                    ctl.run, everyone, "alarm", "list"
                )

            await until(is_raised)
            with pytest.raises(ClientError, match="corrupt cluster"):
                await client.put(b"c", b"x")
            with pytest.raises(ClientError, match="corrupt cluster"):
                await client.get(b"a")
            assert not await asyncio.to_thread(cluster.is_healthy, leader)
            disarmed = await asyncio.to_thread(ctl.run, everyone, "alarm", "disarm")
            assert "alarm:CORRUPT" in disarmed
