"""raftctl on three members of raftkv."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from raftkv.testing.process_cluster import ProcessCluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with ProcessCluster(3, tmp_path_factory.mktemp("cluster")) as running:
        running.wait_ready()
        yield running


def ctl(
    cluster: ProcessCluster, *words: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    endpoints = ",".join(cluster.endpoints)
    return subprocess.run(
        (sys.executable, "-m", "raftkv.ctl.cli", "--endpoints", endpoints, *words),
        input=stdin,
        capture_output=True,
        timeout=30,
        check=False,
    )


def test_keys_leases_and_transactions(cluster: ProcessCluster) -> None:
    assert ctl(cluster, "put", "a", "one").stdout == b"OK\n"
    script = b'value("a") = "one"\n\nput a two\nget a\n\n\n'
    assert ctl(cluster, "txn", stdin=script).stdout == b"SUCCESS\n\nOK\n\na\ntwo\n"
    lease = ctl(cluster, "lease", "grant", "60").stdout.split()[1].decode()
    assert ctl(cluster, "put", "leased", "v", f"--lease={lease}").stdout == b"OK\n"
    assert b"attached keys([leased])" in ctl(cluster, "lease", "timetolive", lease, "--keys").stdout
    assert ctl(cluster, "lease", "revoke", lease).returncode == 0
    assert ctl(cluster, "get", "", "--prefix").stdout == b"a\ntwo\n"
    assert ctl(cluster, "del", "a").stdout == b"1\n"


def test_every_member_is_healthy_and_one_leads(cluster: ProcessCluster) -> None:
    healthy = ctl(cluster, "endpoint", "health")
    assert healthy.stdout.count(b" is healthy: ") == 3
    status = ctl(cluster, "endpoint", "status", "--cluster").stdout.decode().splitlines()
    assert [line.split(", ")[8] for line in status].count("true") == 1
    members = ctl(cluster, "member", "list").stdout.decode().splitlines()
    assert all(re.match(r"[0-9a-f]+, started, m\d, http", line) for line in members)
    assert len(members) == 3
