"""Stock etcdctl's other verbs: locks, elections, members, maintenance, checks, mirrors."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raftkv.testing.etcdctl import Etcdctl, installed
from raftkv.testing.ports import free_port
from raftkv.testing.process_cluster import ProcessCluster

pytestmark = pytest.mark.slow

BINARIES = installed()
HERE = Path(__file__).parent

ELSEWHERE = ("test_etcdctl.py", "test_auth.py", "test_snapshot_files.py")
"""Files that run other verbs; all the rest are here."""

NO_REQUESTS = {"completion", "help", "migrate", "version"}
"""Verbs that ask no server for anything; migrate reads files of API v2."""


@pytest.fixture(params=BINARIES, ids=lambda binary: binary.path.replace("/", "-"))
def ctl(request: pytest.FixtureRequest) -> Etcdctl:
    binary: Etcdctl = request.param
    return binary


@pytest.fixture
def all_of(three_members: ProcessCluster) -> str:
    return ",".join(three_members.endpoints)


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}/{time.monotonic_ns()}"


@contextmanager
def running(ctl: Etcdctl, endpoints: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run it until the end of the block, where it is interrupted and must end well."""
    process = ctl.start(endpoints, *words)
    try:
        yield process
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def eventually(condition: Callable[[], bool], what: str | Callable[[], str]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(what if isinstance(what, str) else what())
        time.sleep(0.05)


def test_every_verb_has_a_test(ctl: Etcdctl) -> None:
    """By the binary's own list of verbs, and the texts of the tests."""
    told = ctl.attempt("", "help").stdout
    commands = told.partition("COMMANDS:")[2].partition("OPTIONS:")[0]
    verbs = [words.split() for words in re.findall(r"^\t([a-z -]+?)\t", commands, re.MULTILINE)]
    assert len(verbs) > 40
    files = (*(HERE / name for name in ELSEWHERE), Path(__file__))
    # A call is written as words in quotes, or as one text that is split.
    tests = "".join(file.read_text() for file in files).replace('", "', " ").replace("'", '"')
    for verb in verbs:
        if verb[0] not in NO_REQUESTS:
            assert re.search(f'[" ]{" ".join(verb)}[" ]', tests), f"no test of {' '.join(verb)}"


def test_a_command_runs_under_a_lock(ctl: Etcdctl, all_of: str, prefix: str) -> None:
    done = ctl.attempt(all_of, "lock", prefix, "--ttl", "5", "sh", "--", "-c", "exit 3")
    assert done.returncode in (1, 3)  # 3.4 tells no more than that it failed
    assert ctl.run(all_of, "lock", prefix, "echo", "held") == "held\n"
    assert ctl.run(all_of, "get", "--prefix", prefix) == ""


def test_a_lock_at_one_member_excludes_holders_at_the_others(
    ctl: Etcdctl, three_members: ProcessCluster, prefix: str
) -> None:
    first, second = three_members.endpoints[:2]
    with running(ctl, first, "lock", prefix) as holder:
        assert line_of(holder).startswith(f"{prefix}/")
        waiter = ctl.start(second, "lock", prefix, "echo", "mine")
        keys = ("get", "--prefix", prefix, "--keys-only")
        eventually(lambda: len(ctl.run(second, *keys).split()) == 2, "the waiter did not queue")
        assert waiter.poll() is None
    out, _ = waiter.communicate(timeout=10)
    assert (out, waiter.returncode) == ("mine\n", 0)


def test_a_leader_is_elected_and_observed(
    ctl: Etcdctl, three_members: ProcessCluster, prefix: str
) -> None:
    first, second, third = three_members.endpoints
    with running(ctl, first, "elect", prefix, "one") as leader:
        assert line_of(leader).startswith(f"{prefix}/")
        assert line_of(leader) == "one"
        with running(ctl, third, "elect", "-l", prefix) as listener:
            line_of(listener)
            assert line_of(listener) == "one"
            with running(ctl, second, "elect", prefix, "two") as heir:
                keys = ("get", "--prefix", prefix, "--keys-only")
                eventually(lambda: len(ctl.run(first, *keys).split()) == 2, "no heir")
                leader.send_signal(signal.SIGINT)
                line_of(heir)
                assert line_of(heir) == "two"
                line_of(listener)
                assert line_of(listener) == "two"


def test_members_come_and_go(ctl: Etcdctl, all_of: str, three_members: ProcessCluster) -> None:
    first, second = (f"http://127.0.0.1:{free_port()}" for _ in range(2))

    def add() -> bool:
        """A cluster refuses while its members are not connected for long enough."""
        done = ctl.attempt(all_of, "member", "add", "new", "--learner", f"--peer-urls={first}")
        said.append(done.stdout)
        return done.returncode == 0

    said: list[str] = []
    eventually(add, "the cluster takes no members")
    assert re.search(r"Member\s+[0-9a-f]+ added to cluster\s+[0-9a-f]+", said[-1])
    assert f'ETCD_INITIAL_ADVERTISE_PEER_URLS="{first}"' in said[-1]
    listed = ctl.run(all_of, "member", "list")
    new = next(line.split(", ")[0] for line in listed.splitlines() if "unstarted" in line)
    refused = ctl.attempt(all_of, "member", "promote", new)
    assert "can only promote a learner member which is in sync with leader" in refused.stderr
    assert "updated in cluster" in ctl.run(all_of, "member", "update", new, f"--peer-urls={second}")
    for endpoint in three_members.endpoints:
        eventually(lambda at=endpoint: second in ctl.run(at, "member", "list"), "not updated")  # type: ignore[misc]
    assert "removed from cluster" in ctl.run(all_of, "member", "remove", new)
    assert "unstarted" not in ctl.run(all_of, "member", "list")


def test_the_leadership_moves(ctl: Etcdctl, all_of: str) -> None:
    """From one follower after the other, until one attempt meets no election of a busy machine."""
    last = ""

    def leaders() -> tuple[list[str], list[str]]:
        """Return who leads, and who follows."""
        told = json.loads(ctl.run(all_of, "endpoint", "status", "-w", "json"))
        ids = {one["Status"]["header"]["member_id"]: one["Status"].get("leader") for one in told}
        return (
            [f"{one:x}" for one, leader in ids.items() if leader == one],
            [f"{one:x}" for one, leader in ids.items() if leader != one],
        )

    def move() -> bool:
        nonlocal last
        leading, following = leaders()
        if len(leading) != 1:
            last = f"leaders: {leading}"
            return False
        done = ctl.attempt(all_of, "move-leader", following[0])
        last = done.stdout + done.stderr
        told = f"Leadership transferred from {leading[0]} to {following[0]}\n"
        return done.stdout == told and leaders()[0] == following[:1]

    eventually(move, lambda: f"the leadership did not move: {last}")


def test_hashes_of_all_members_agree(ctl: Etcdctl, all_of: str, prefix: str) -> None:
    ctl.run(all_of, "put", prefix, "x")
    revision = json.loads(ctl.run(all_of, "get", prefix, "-w", "json"))["header"]["revision"]
    last = ""

    def agree() -> bool:
        nonlocal last
        done = ctl.attempt(all_of, "endpoint", "hashkv", f"--rev={revision}", "-w", "json")
        last = done.stdout + done.stderr
        if done.returncode:
            return False  # a member is behind that revision
        return len({one["HashKV"]["hash"] for one in json.loads(done.stdout)}) == 1

    eventually(agree, lambda: f"the hashes differ: {last}")


def test_every_member_of_the_cluster_is_asked(ctl: Etcdctl, three_members: ProcessCluster) -> None:
    one = three_members.endpoints[0]
    assert ctl.run(one, "endpoint", "status", "--cluster").count("\n") == 3
    assert ctl.run(one, "defrag", "--cluster").count("Finished defragmenting etcd member") == 3
    assert "Finished" in ctl.run(one, "defrag")
    assert ctl.run(one, "endpoint", "status", "-w", "table").count("\n") == 5


def test_alarms_are_listed_and_disarmed(ctl: Etcdctl, tmp_path: Path) -> None:
    """With a quota that the first writes exceed."""
    with ProcessCluster(1, tmp_path, ["--quota-backend-bytes=65536"]) as cluster:
        cluster.wait_ready()
        endpoint = cluster.endpoints[0]
        assert ctl.run(endpoint, "alarm", "list") == ""
        value = "x" * 20_000
        done = [ctl.attempt(endpoint, "put", f"k{at}", value) for at in range(8)]
        assert "etcdserver: mvcc: database space exceeded" in done[-1].stderr
        armed = ctl.run(endpoint, "alarm", "list")
        assert re.fullmatch(r"memberID:\d+ alarm:NOSPACE \n", armed)
        ctl.run(endpoint, "del", "--prefix", "k")
        assert ctl.run(endpoint, "alarm", "disarm") == armed
        assert ctl.run(endpoint, "alarm", "list") == ""


def test_users_and_roles_are_told(ctl: Etcdctl, tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path, ["--bcrypt-cost=4"]) as cluster:
        cluster.wait_ready()
        endpoint = cluster.endpoints[0]
        ctl.run(endpoint, "user", "add", "ann:secret")
        ctl.run(endpoint, "role", "add", "reader")
        ctl.run(endpoint, "role", "grant-permission", "reader", "read", "a", "--prefix")
        ctl.run(endpoint, "user", "grant-role", "ann", "reader")
        assert ctl.run(endpoint, "role", "list") == "reader\n"
        assert "[a, b) (prefix a)" in ctl.run(endpoint, "role", "get", "reader")
        assert ctl.run(endpoint, "user", "get", "ann") == "User: ann\nRoles: reader\n"
        if "version: 3.4" not in ctl.run(endpoint, "version"):
            assert "Authentication Status: false" in ctl.run(endpoint, "auth", "status")
        ctl.run(endpoint, "role", "revoke-permission", "reader", "a", "--prefix")
        assert "[a, b)" not in ctl.run(endpoint, "role", "get", "reader")
        ctl.run(endpoint, "user", "revoke-role", "ann", "reader")
        assert ctl.run(endpoint, "user", "get", "ann") == "User: ann\nRoles:\n"


def test_a_lease_is_renewed_once(ctl: Etcdctl, all_of: str) -> None:
    lease = ctl.run(all_of, "lease", "grant", "60").split()[1]
    told = ctl.run(all_of, "lease", "keep-alive", "--once", lease)
    assert told == f"lease {lease} keepalived with TTL(60)\n"
    ctl.run(all_of, "lease", "revoke", lease)


def test_a_mirror_follows(ctl: Etcdctl, all_of: str, prefix: str, tmp_path: Path) -> None:
    ctl.run(all_of, "put", f"{prefix}/a", "before")
    with ProcessCluster(1, tmp_path) as other:
        other.wait_ready()
        target = other.endpoints[0]
        with running(ctl, all_of, "make-mirror", "--prefix", prefix, target):
            read = ("get", "--prefix", prefix, "--print-value-only")
            eventually(lambda: ctl.run(target, *read) == "before\n", "no base copy")
            ctl.run(all_of, "put", f"{prefix}/b", "after")
            eventually(lambda: ctl.run(target, *read) == "before\nafter\n", "no tail")


def test_the_scale_of_data_is_checked(ctl: Etcdctl, tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.wait_ready()
        done = ctl.attempt(cluster.endpoints[0], "check", "datascale", "--load=s", "--auto-compact")
        assert "PASS: Approximate system memory used" in done.stdout + done.stderr


def test_the_performance_is_checked(ctl: Etcdctl, tmp_path: Path) -> None:
    """It takes a minute, so that only its beginning is seen here."""
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.wait_ready()
        endpoint = cluster.endpoints[0]
        keys = ("get", "--prefix", "/etcdctl-check-perf/", "--keys-only", "--limit=1", "-w", "json")
        check = ctl.start(endpoint, "check", "perf", "--load=s")
        try:
            eventually(
                lambda: json.loads(ctl.run(endpoint, *keys)).get("count", 0) > 200,
                "it writes nothing",
            )
        finally:
            check.kill()
            check.communicate()
