"""Three etcds and three raftkvs, for what takes a cluster to ask."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.compat.pair import ETCD

FLAGS = ["--heartbeat-interval=50", "--election-timeout=500"]


class EtcdCluster(ProcessCluster):
    """Like a cluster of raftkv, but of a real etcd."""

    def program(self, member: int) -> list[str]:
        """Return how a member is started, before its flags."""
        return [str(ETCD), "--unsafe-no-fsync", "--log-level=error", "--pre-vote"]

    def _says_it_leads(self, member: int) -> bool:
        try:
            return "\netcd_server_is_leader 1" in self.http(member, "/metrics")
        except OSError:
            return False


@contextmanager
def running_threes(directory: Path) -> Iterator[list[ProcessCluster]]:
    """Run three members of each; gives etcd's cluster and raftkv's."""
    (directory / "etcd").mkdir()
    (directory / "raftkv").mkdir()
    with (
        EtcdCluster(3, directory / "etcd", FLAGS) as etcd,
        ProcessCluster(3, directory / "raftkv", FLAGS) as raftkv,
    ):
        for cluster in (etcd, raftkv):
            cluster.wait_ready()
        yield [etcd, raftkv]


def start_joining(
    program: list[str], directory: Path, name: str, peer: str, client: str, cluster: str
) -> "subprocess.Popen[bytes]":
    """Start a member that was added to a running cluster."""
    return subprocess.Popen(
        [
            *program,
            f"--name={name}",
            f"--data-dir={directory / name}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={cluster}",
            "--initial-cluster-state=existing",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
