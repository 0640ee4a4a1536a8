"""One member's data survives the loss of all others: --force-new-cluster."""

import json
from pathlib import Path

import pytest

from raftkv.cli import ExitCode
from raftkv.testing.etcdctl import installed
from raftkv.testing.process_cluster import ProcessCluster

pytestmark = pytest.mark.slow

FLAGS = ["--heartbeat-interval=20", "--election-timeout=200", "--log-level=warn"]
CTL = installed()[-1]


class Survivor(ProcessCluster):
    """Three members; what member 0 is started with can be changed."""

    extra: tuple[str, ...] = ()
    alone = False

    def __enter__(self) -> "Survivor":
        super().__enter__()
        return self

    def arguments(self, member: int) -> list[str]:
        given = super().arguments(member)
        if self.alone:
            given = [one for one in given if not one.startswith("--initial-cluster=")]
        return [*given, *self.extra]


def members(cluster: ProcessCluster, member: int) -> list[str]:
    """Return the peer URLs that a member lists."""
    text = CTL.run(cluster.endpoints[member], "member", "list", "-w", "json")
    return [one["peerURLs"][0] for one in json.loads(text)["members"]]


def test_the_last_member_goes_on_alone_with_all_that_it_has(tmp_path: Path) -> None:
    with Survivor(3, tmp_path, FLAGS) as cluster:
        cluster.wait_ready()
        endpoint = cluster.endpoints[0]
        lease = CTL.run(endpoint, "lease", "grant", "600").split()[1]
        CTL.run(endpoint, "put", "leased", "x", f"--lease={lease}")
        for number in range(20):
            CTL.run(endpoint, "put", f"k{number}", str(number))
        revision = json.loads(CTL.run(endpoint, "get", "k0", "-w", "json"))["header"]["revision"]
        for member in (1, 2, 0):
            cluster.kill(member)
        cluster.extra, cluster.alone = ("--force-new-cluster",), True
        cluster.start(0)
        cluster.wait_ready([0])
        assert members(cluster, 0) == [f"http://127.0.0.1:{cluster.peer_ports[0]}"]
        assert CTL.run(endpoint, "get", "--prefix", "k", "--count-only", "-w", "fields").count(
            '"Count" : 20'
        )
        assert "attached keys([leased])" in CTL.run(
            endpoint, "lease", "timetolive", lease, "--keys"
        )
        after = json.loads(CTL.run(endpoint, "get", "k0", "-w", "json"))["header"]["revision"]
        assert after == revision
        assert CTL.run(endpoint, "put", "new", "1") == "OK\n"


def test_the_flag_may_stay_and_go_and_the_lost_members_stay_out(tmp_path: Path) -> None:
    with Survivor(3, tmp_path, FLAGS) as cluster:
        cluster.wait_ready()
        for member in (1, 2, 0):
            cluster.kill(member)
        cluster.extra, cluster.alone = ("--force-new-cluster",), True
        for _ in range(2):
            cluster.start(0)
            cluster.wait_ready([0])
            CTL.run(cluster.endpoints[0], "put", "k", "v")
            cluster.kill(0)
        cluster.extra = ()
        cluster.start(0)
        cluster.wait_ready([0])
        assert CTL.run(cluster.endpoints[0], "get", "k") == "k\nv\n"
        cluster.alone = False
        cluster.start(1)
        assert cluster.wait(1) == ExitCode.REMOVED
        url = f"http://127.0.0.1:{cluster.peer_ports[2]}"
        CTL.run(cluster.endpoints[0], "member", "add", "m2", "--learner", f"--peer-urls={url}")
        assert url in members(cluster, 0)
