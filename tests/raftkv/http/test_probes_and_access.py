"""Probes, /version, debug pages, the host check, CORS, and URLs for metrics and HTTP alone."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv.testing.ports import free_port
from raftkv.testing.process_cluster import ProcessCluster


def get(
    endpoint: str, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Return status, header fields by lower-case name, body."""
    connection = http.client.HTTPConnection(endpoint, timeout=10)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): one for name, one in headers.items()}
        )
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return response.status, fields, response.read().decode()
    finally:
        connection.close()


READY = ["data_corruption", "linearizable_read", "non_learner", "serializable_read"]


def test_probes_of_a_member_that_is_well(served: ProcessCluster) -> None:
    endpoint = served.endpoints[0]
    status, _, body = get(endpoint, "/health")
    assert (status, body) == (200, '{"health":"true","reason":""}')
    assert get(endpoint, "/health?serializable=true&exclude=NOSPACE")[0] == 200
    assert get(endpoint, "/health", method="POST")[0] == 405
    assert get(endpoint, "/livez")[2] == "ok\n"
    assert get(endpoint, "/readyz")[2] == "ok\n"
    verbose = get(endpoint, "/readyz?verbose")[2].splitlines()
    assert sorted(verbose[:-1]) == [f"[+]{name} ok" for name in READY]
    assert verbose[-1] == "ok"
    without = get(endpoint, "/readyz?verbose&exclude=non_learner")[2]
    assert "non_learner ok" not in without
    assert get(endpoint, "/readyz/linearizable_read?verbose")[2].startswith("[+]linearizable_read")
    assert get(endpoint, "/livez/serializable_read")[0] == 200
    assert get(endpoint, "/livez/linearizable_read")[0] == 404
    versions = json.loads(get(endpoint, "/version")[2])
    assert set(versions) == {"etcdserver", "etcdcluster", "storage"}


def test_probes_of_a_member_without_a_quorum(tmp_path: Path) -> None:
    with ProcessCluster(2, tmp_path, ["--heartbeat-interval=20", "--election-timeout=200"]) as two:
        two.wait_ready()
        two.kill(1)
        endpoint = two.endpoints[0]
        while (answer := get(endpoint, "/health"))[0] == 200:
            pass
        assert answer[0] == 503
        reason = json.loads(answer[2])["reason"]
        assert reason == "RAFT NO LEADER" or reason.startswith("RANGE ERROR:")
        assert json.loads(answer[2])["health"] == "false"
        assert get(endpoint, "/health?serializable=true")[0] == 200
        assert get(endpoint, "/livez")[0] == 200
        status, _, body = get(endpoint, "/readyz?exclude=linearizable_read")
        assert status == 200
        status, _, body = get(endpoint, "/readyz/linearizable_read")
        assert status == 503
        assert body.startswith("[-]linearizable_read failed: ")


def test_an_alarm_makes_it_unhealthy_unless_excluded(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as one:
        one.wait_ready()
        endpoint = one.endpoints[0]
        connection = http.client.HTTPConnection(endpoint, timeout=10)
        request = {"action": "ACTIVATE", "memberID": "7", "alarm": "NOSPACE"}
        connection.request("POST", "/v3/maintenance/alarm", json.dumps(request))
        assert connection.getresponse().status == 200
        connection.close()
        status, _, body = get(endpoint, "/health")
        assert (status, body) == (503, '{"health":"false","reason":"ALARM NOSPACE"}')
        assert get(endpoint, "/health?exclude=NOSPACE")[0] == 200
        assert (
            'etcd_debugging_server_alarms{server_id="7",alarm_type="NOSPACE"} 1.0'
            in get(endpoint, "/metrics")[2]
        )


def test_debug_pages(served: ProcessCluster) -> None:
    endpoint = served.endpoints[0]
    variables = json.loads(get(endpoint, "/debug/vars")[2])
    assert variables["memstats"]["Sys"] > 1 << 20
    assert "/debug/pprof/profile" in get(endpoint, "/debug/pprof/")[2]
    assert "thread log-writer" in get(endpoint, "/debug/pprof/goroutine")[2]
    profile = get(endpoint, "/debug/pprof/profile?seconds=0.1")[2]
    assert "MainThread;" in profile
    assert int(profile.splitlines()[0].rpartition(" ")[2]) >= 1
    assert "allocated in 0.1 s" in get(endpoint, "/debug/pprof/heap?seconds=0.1")[2]
    assert get(endpoint, "/debug/pprof/mutex")[0] == 404
    assert get(endpoint, "/debug/pprof/profile?seconds=x")[0] == 400


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ProcessCluster, str, str]]:
    """A member with hosts and origins of its own, and URLs for HTTP and metrics alone."""
    plain, metrics = free_port(), free_port()
    flags = [
        "--host-whitelist=127.0.0.1,etcd.example",
        "--cors=https://ui.example",
        "--enable-grpc-gateway=false",
        f"--listen-client-http-urls=http://127.0.0.1:{plain}",
        f"--listen-metrics-urls=http://127.0.0.1:{metrics}",
    ]
    with ProcessCluster(1, tmp_path_factory.mktemp("guarded"), flags) as cluster:
        for port in (plain, metrics):
            wait_open(port)
        yield cluster, f"127.0.0.1:{plain}", f"127.0.0.1:{metrics}"


def wait_open(port: int) -> None:
    import time

    deadline = time.monotonic() + 15
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_unknown_hosts_are_misdirected(guarded: tuple[ProcessCluster, str, str]) -> None:
    _, plain, metrics = guarded
    assert get(plain, "/version")[0] == 200
    assert get(plain, "/version", Host="etcd.example:2379")[0] == 200
    status, _, body = get(plain, "/version", Host="evil.example")
    assert status == 421
    assert "evil.example" in body
    assert get(metrics, "/metrics", Host="evil.example")[0] == 200


def test_only_known_origins_may_read(guarded: tuple[ProcessCluster, str, str]) -> None:
    _, plain, _ = guarded
    _, fields, _ = get(plain, "/version", Origin="https://ui.example")
    assert fields["access-control-allow-origin"] == "https://ui.example"
    assert "authorization" in fields["access-control-allow-headers"]
    assert "access-control-allow-origin" not in get(plain, "/version", Origin="https://a.b")[1]
    assert get(plain, "/v3/kv/range", method="OPTIONS")[0] == 200


def test_what_is_off_is_not_there(guarded: tuple[ProcessCluster, str, str]) -> None:
    cluster, plain, metrics = guarded
    assert get(plain, "/v3/kv/range", method="POST")[0] == 404
    assert get(plain, "/debug/pprof/")[0] == 404
    assert get(metrics, "/version")[0] == 404
    assert get(metrics, "/health")[0] == 200
    assert get(metrics, "/readyz")[0] == 200
    assert get(cluster.endpoints[0], "/version")[0] == 404


def test_any_origin_may_read_by_default(served: ProcessCluster) -> None:
    assert get(served.endpoints[0], "/nowhere")[1]["access-control-allow-origin"] == "*"
