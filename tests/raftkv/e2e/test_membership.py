"""Clusters grow and shrink under a writer; nothing that was acknowledged is lost."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from raftkv.cli import ExitCode
from raftkv.client.client import Client
from raftkv.client.errors import ClientError
from raftkv.testing.etcdctl import Etcdctl, installed
from tests.raftkv.e2e.growing_cluster import GrowingCluster

pytestmark = pytest.mark.skipif(not installed(), reason="needs a stock etcdctl")

FLAGS = ["--heartbeat-interval=20", "--election-timeout=200", "--snapshot-catchup-entries=50"]


def etcdctl() -> Etcdctl:
    return installed()[-1]


class Writer:
    """Writes one key after the other and remembers which were acknowledged."""

    def __init__(self, endpoints: list[str]) -> None:
        self.acknowledged: list[bytes] = []
        self._endpoints = endpoints
        self._stopped = False

    async def run(self) -> None:
        number = 0
        async with Client(self._endpoints) as client:
            while not self._stopped:
                number += 1
                key = b"w%06d" % number
                with contextlib.suppress(ClientError):
                    await client.put(key, b"x")
                    self.acknowledged.append(key)
                await asyncio.sleep(0.002)

    async def end(self, task: "asyncio.Task[None]") -> None:
        self._stopped = True
        await task


async def keys_at(endpoint: str) -> set[bytes]:
    async with Client([endpoint]) as client:
        return {kv.key for kv in (await client.get(b"w", b"x")).kvs}


async def test_a_cluster_grows_from_one_to_five_and_shrinks_again(tmp_path: Path) -> None:
    cluster = await asyncio.to_thread(GrowingCluster(5, tmp_path, etcdctl(), FLAGS).__enter__)
    try:
        writer = Writer([cluster.endpoints[0]])
        writing = asyncio.create_task(writer.run())
        for member in (1, 2, 3, 4):
            await asyncio.to_thread(cluster.add, member)
            await asyncio.to_thread(cluster.wait_ready)
        grown = await asyncio.to_thread(cluster.listed)
        assert grown == {cluster.names[place]: id_ for place, id_ in cluster.ids.items()}
        for member in (3, 4):
            cluster.kill(member)
            cluster.start(member)
        await asyncio.to_thread(cluster.wait_ready)
        for member in (4, 3, 2):
            await asyncio.to_thread(cluster.remove, member)
            assert await asyncio.to_thread(cluster.wait, member) == ExitCode.REMOVED
        await writer.end(writing)
        assert len(writer.acknowledged) > 100
        for member in (0, 1):
            assert await keys_at(cluster.endpoints[member]) >= set(writer.acknowledged)
        cluster.start(2)
        assert await asyncio.to_thread(cluster.wait, 2) == ExitCode.REMOVED
        for member in (0, 1):
            cluster.terminate(member)
        for member in (0, 1):
            cluster.start(member)
        await asyncio.to_thread(cluster.wait_ready)
        assert set(await asyncio.to_thread(cluster.listed)) == {"m0", "m1"}
        assert await keys_at(cluster.endpoints[1]) >= set(writer.acknowledged)
    finally:
        cluster.stop()


def test_a_leader_may_be_removed_and_ends(tmp_path: Path) -> None:
    with GrowingCluster(3, tmp_path, etcdctl(), FLAGS) as cluster:
        for member in (1, 2):
            cluster.add(member)
            cluster.wait_ready()
        leader = cluster.leader()
        cluster.remove(leader)
        assert cluster.wait(leader) == ExitCode.REMOVED
        cluster.wait_ready()
        assert cluster.ctl.run(cluster.running(), "put", "a", "b") == "OK\n"


def test_a_learner_listens_until_it_is_promoted(tmp_path: Path) -> None:
    with GrowingCluster(3, tmp_path, etcdctl(), FLAGS) as cluster:
        ctl = cluster.ctl
        for number in range(20):
            ctl.run(cluster.running(), "put", f"k{number}", "x")
        refused = ctl.attempt(cluster.running(), "member", "promote", cluster.ids[0])
        assert "can only promote a learner member" in refused.stderr
        cluster.add(1, "--learner")
        second = ctl.attempt(
            cluster.endpoints[0],
            "member",
            "add",
            "m2",
            "--peer-urls=http://127.0.0.1:1",
            "--learner",
        )
        assert "too many learner members in cluster" in second.stderr
        promoted = wait_promoted(cluster, 1)
        assert "promoted in cluster" in promoted
        cluster.wait_ready()
        assert ctl.run(cluster.endpoints[1], "get", "k7", "--print-value-only") == "x\n"


def wait_promoted(cluster: GrowingCluster, member: int) -> str:
    """Promote as soon as the learner is level; meanwhile it refuses what learners refuse."""
    local = cluster.endpoints[member]
    for _ in range(200):
        refused = cluster.ctl.attempt(local, "get", "k7")
        assert refused.returncode != 0
        done = cluster.ctl.attempt(cluster.endpoints[0], "member", "promote", cluster.ids[member])
        if done.returncode == 0:
            return done.stdout
        assert "in sync with leader" in done.stderr
    raise AssertionError("the learner never came level")


def test_what_does_not_fit_is_refused_in_etcds_words(tmp_path: Path) -> None:
    with GrowingCluster(1, tmp_path, etcdctl(), FLAGS) as cluster:
        ctl, endpoint = cluster.ctl, cluster.endpoints[0]
        taken = ctl.attempt(endpoint, "member", "add", "x", f"--peer-urls={cluster.peer_url(0)}")
        assert "Peer URLs already exists" in taken.stderr
        unknown = ctl.attempt(endpoint, "member", "remove", "1234")
        assert "member not found" in unknown.stderr
        last = ctl.attempt(endpoint, "member", "remove", cluster.ids[0])
        assert "not enough started members" in last.stderr
        ctl.run(endpoint, "put", "a", "b")
