"""raftctl on three members of raftkv."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.ctl.beside_etcdctl import CTL, Etcd

pytestmark = pytest.mark.slow

MOVE_S_MAX = 30.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with ProcessCluster(3, tmp_path_factory.mktemp("cluster")) as running:
        running.wait_ready()
        yield running


def ctl(
    cluster: ProcessCluster, *words: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return Etcd(",".join(cluster.endpoints)).ctl(*words, stdin=stdin)


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


def test_a_streamed_range_prints_what_a_plain_one_does(cluster: ProcessCluster) -> None:
    script = "\n" + "".join(f"put stream/{number} x\n" for number in range(30)) + "\n\n"
    ctl(cluster, "txn", stdin=script.encode())
    for flags in ((), ("--limit=7",), ("--keys-only",), ("--print-value-only",), ("--count-only",)):
        for form in ("simple", "json", "fields"):
            words = ("get", "--prefix", "stream/", *flags, "-w", form)
            plain, streamed = (ctl(cluster, *words, *more) for more in ((), ("--stream",)))
            assert plain.returncode == streamed.returncode == 0, streamed.stderr
            assert without_member(streamed.stdout) == without_member(plain.stdout)


def without_member(text: bytes) -> bytes:
    """Leave out who answered: the two reads may be at two members."""
    return re.sub(rb'"(member_id|MemberID)" ?: ?\d+', b"", text)


def test_the_leadership_moves_and_alarms_are_none(cluster: ProcessCluster) -> None:
    deadline = time.monotonic() + MOVE_S_MAX
    while True:  # an election of a busy machine may come between
        status = ctl(cluster, "endpoint", "status").stdout.decode().splitlines()
        rows = [line.split(", ") for line in status]
        heir = next(row[1] for row in rows if row[8] == "false")
        moved = ctl(cluster, "move-leader", heir)
        if moved.returncode == 0 or time.monotonic() > deadline:
            break
    told = rb"Leadership transferred from [0-9a-f]+ to %s\n" % heir.encode()
    assert re.fullmatch(told, moved.stdout), moved
    assert ctl(cluster, "alarm", "list").stdout == b""
    assert ctl(cluster, "defrag", "--cluster").stdout.count(b"Finished") == 3


def test_downgrades_are_judged_by_the_server(cluster: ProcessCluster) -> None:
    refused = ctl(cluster, "downgrade", "validate", "3.0.0")
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"Error: etcdserver: invalid downgrade target version")
    assert ctl(cluster, "downgrade", "enable").returncode == 128


def test_the_status_is_followed_in_a_pipe(cluster: ProcessCluster) -> None:
    """One table an interval, with what a member writes a second."""
    endpoints = f"{cluster.endpoints[0]},127.0.0.1:1"
    words = ("endpoint", "status", "--watch", "--interval=50ms", "--command-timeout=300ms")
    with subprocess.Popen(
        (*CTL, "--endpoints", endpoints, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode() for _ in range(12)]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 0, said
    assert [line.count("ENDPOINT") for line in lines] == [0, 1, 0, 0, 0, 0] * 2
    assert lines[3].split("|")[6].strip() in ("leader", "follower")
    assert "no answer" in lines[4]
    assert lines[3].split("|")[11].strip() == ""
    assert lines[9].split("|")[11].strip().isdigit()


def test_locks_and_members(cluster: ProcessCluster) -> None:
    held = ctl(cluster, "lock", "name", "true")
    assert held.returncode == 0, held.stderr
    listed = ctl(cluster, "member", "list", "-w", "fields").stdout.decode()
    assert listed.count('"Name" : ') == 3
    assert ctl(cluster, "member", "remove", "1").returncode == 1
