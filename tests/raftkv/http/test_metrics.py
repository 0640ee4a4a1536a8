"""/metrics: every name that etcd's dashboards and alerts use, and values that are true."""

import json
import re
import time
import urllib.request
from pathlib import Path

import grpc
import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.http import gateway_requests as requests
from tests.raftkv.http.test_gateway_against_etcd import answer

EXAMPLES = Path(__file__).parents[3] / "examples"

NAMES = """
etcd_network_peer_sent_failures_total etcd_server_has_leader etcd_server_leader_changes_seen_total
grpc_server_handled_total grpc_server_handling_seconds etcd_network_peer_round_trip_time_seconds
etcd_server_proposals_failed_total etcd_disk_wal_fsync_duration_seconds
etcd_disk_backend_commit_duration_seconds etcd_mvcc_db_total_size_in_bytes
etcd_server_quota_backend_bytes etcd_mvcc_db_total_size_in_use_in_bytes
etcd_server_is_leader etcd_server_is_learner etcd_server_id etcd_server_version
etcd_server_go_version etcd_server_heartbeat_send_failures_total etcd_server_health_success
etcd_server_health_failures etcd_server_proposals_committed_total
etcd_server_proposals_applied_total etcd_server_proposals_pending etcd_server_slow_apply_total
etcd_server_slow_read_indexes_total etcd_server_read_indexes_failed_total
etcd_server_apply_duration_seconds etcd_server_range_duration_seconds
etcd_server_request_duration_seconds etcd_server_client_requests_total
etcd_server_snapshot_apply_in_progress_total etcd_server_learner_promote_successes
etcd_server_learner_promote_failures etcd_server_feature_enabled etcd_cluster_version
etcd_disk_wal_write_bytes_total etcd_disk_wal_write_duration_seconds
etcd_disk_backend_snapshot_duration_seconds etcd_disk_backend_defrag_duration_seconds
etcd_disk_defrag_inflight etcd_mvcc_put_total etcd_mvcc_delete_total etcd_mvcc_range_total
etcd_mvcc_txn_total etcd_mvcc_hash_duration_seconds etcd_mvcc_hash_rev_duration_seconds
etcd_mvcc_db_open_read_transactions etcd_network_active_peers etcd_network_known_peers
etcd_network_disconnected_peers_total etcd_network_client_grpc_sent_bytes_total
etcd_network_client_grpc_received_bytes_total etcd_network_peer_sent_bytes_total
etcd_network_peer_received_bytes_total etcd_network_peer_received_failures_total
etcd_network_server_stream_failures_total etcd_network_snapshot_send_success
etcd_network_snapshot_send_failures etcd_network_snapshot_send_inflights_total
etcd_network_snapshot_send_total_duration_seconds etcd_network_snapshot_receive_success
etcd_network_snapshot_receive_failures etcd_network_snapshot_receive_inflights_total
etcd_network_snapshot_receive_total_duration_seconds etcd_snap_db_fsync_duration_seconds
etcd_snap_db_save_total_duration_seconds etcd_snap_fsync_duration_seconds
etcd_debugging_mvcc_keys_total etcd_debugging_mvcc_current_revision
etcd_debugging_mvcc_compact_revision etcd_debugging_mvcc_watcher_total
etcd_debugging_mvcc_watch_stream_total etcd_debugging_mvcc_slow_watcher_total
etcd_debugging_mvcc_events_total etcd_debugging_mvcc_pending_events_total
etcd_debugging_mvcc_db_compaction_keys_total etcd_debugging_mvcc_db_compaction_last
etcd_debugging_mvcc_db_compaction_total_duration_milliseconds
etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds
etcd_debugging_mvcc_total_put_size_in_bytes etcd_debugging_lease_granted_total
etcd_debugging_lease_revoked_total etcd_debugging_lease_renewed_total
etcd_debugging_lease_ttl_total etcd_debugging_server_lease_expired_total
etcd_debugging_server_alarms
etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds
etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds
etcd_debugging_server_watch_send_loop_control_stream_duration_seconds
etcd_debugging_server_watch_send_loop_progress_duration_seconds
etcd_debugging_auth_revision os_fd_limit os_fd_used process_cpu_seconds_total process_open_fds
process_max_fds process_virtual_memory_bytes process_virtual_memory_max_bytes
process_resident_memory_bytes process_start_time_seconds grpc_server_started_total
grpc_server_msg_received_total grpc_server_msg_sent_total
""".split()  # noqa: SIM905

SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)")


def scrape(endpoint: str) -> str:
    with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=5) as response:
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        text: str = response.read().decode()
        return text


def samples(text: str) -> dict[str, float]:
    """Return name with labels -> value."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            found[match[1] + (match[2] or "")] = float(match[3])
    return found


def types(text: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text))


def test_every_name_is_served_once_with_a_help(served: ProcessCluster) -> None:
    text = scrape(served.endpoints[0])
    declared = re.findall(r"(?m)^# TYPE (\S+)", text)
    assert set(NAMES) - set(declared) == set()
    assert len(declared) == len(set(declared))
    assert len(re.findall(r"(?m)^# HELP \S+ \S+", text)) == len(declared)
    samples(text)


def test_types_are_those_of_a_real_etcd(served: ProcessCluster, real_etcd: str) -> None:
    theirs = types(scrape(real_etcd))
    ours = types(scrape(served.endpoints[0]))
    differing = {
        name: (kind, ours.get(name))
        for name, kind in theirs.items()
        if name.startswith(("etcd_", "grpc_", "os_", "process_"))
        and not name.startswith("etcd_grpc_proxy_")
        and ours.get(name) != kind
    }
    assert differing == {"etcd_debugging_mvcc_range_total": ("counter", None)}
    # etcd 3.6 dropped that one: etcd_mvcc_range_total is the same


def test_the_peer_metrics_of_three_members(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.wait_ready()
        deadline = time.monotonic() + 20
        active: list[float] = []
        found: dict[str, float] = {}
        while active != [1.0, 1.0]:  # who is ready is not yet connected to everybody
            assert time.monotonic() < deadline, active
            found = samples(cluster.http(0, "/metrics"))
            active = [value for name, value in found.items() if "active_peers{" in name]
        sent = [value for name, value in found.items() if "peer_sent_bytes_total{" in name]
        assert len(sent) == 2
        assert min(sent) > 0


@pytest.mark.parametrize(
    "file",
    [*EXAMPLES.glob("grafana/*.json"), *EXAMPLES.glob("prometheus/alerts.yml")],
    ids=lambda path: path.name,
)
def test_what_the_examples_name_is_served(served: ProcessCluster, file: Path) -> None:
    """Promise: no panel and no alert is empty because of a name that does not exist."""
    text = file.read_text()
    named = set(re.findall(r"\b(?:etcd|grpc_server|process|os_fd)_\w+", text))
    assert named, file
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    declared = set(types(scrape(served.endpoints[0])))
    assert {name for name in bare if name not in declared} - _recorded(text) == set()
    if file.suffix == ".json":
        json.loads(text)


def _recorded(text: str) -> set[str]:
    """Return the names that recording rules make."""
    return set(re.findall(r"record: (\S+)", text))


async def test_calls_are_counted_by_method_and_code(served: ProcessCluster) -> None:
    endpoint = served.endpoints[0]
    before = samples(scrape(endpoint))
    async with grpc.aio.insecure_channel(endpoint) as channel:
        put = channel.unary_unary(
            "/etcdserverpb.KV/Put",
            request_serializer=pb.PutRequest.SerializeToString,
            response_deserializer=pb.PutResponse.FromString,
        )
        await put(pb.PutRequest(key=b"counted"))
        with pytest.raises(grpc.aio.AioRpcError):
            await put(pb.PutRequest())
    after = samples(scrape(endpoint))
    labels = 'grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Put"}'
    for name, more in (
        ("grpc_server_started_total{" + labels, 2),
        ("grpc_server_msg_received_total{" + labels, 2),
        ("grpc_server_msg_sent_total{" + labels, 1),
        ("grpc_server_handling_seconds_count{" + labels, 2),
        ('grpc_server_handled_total{grpc_code="OK",' + labels, 1),
        ('grpc_server_handled_total{grpc_code="InvalidArgument",' + labels, 1),
    ):
        assert after[name] - before.get(name, 0.0) == more, name


# Not ranges and transactions: etcd counts the reads, too, that a put with prev_kv or a comparison
# costs it inside.
SAME = [
    "etcd_mvcc_put_total",
    "etcd_mvcc_delete_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_server_is_learner",
    "etcd_server_has_leader",
    "etcd_server_is_leader",
]


def test_exact_figures_are_those_of_a_real_etcd(served: ProcessCluster, real_etcd: str) -> None:
    """Promise: after the same requests the counts have grown alike."""
    grown = []
    for endpoint in (real_etcd, served.endpoints[0]):
        before = samples(scrape(endpoint))
        for request in (*requests.KV[:21], *requests.LEASE, *requests.KV[30:38]):
            answer(endpoint, request)
        after = samples(scrape(endpoint))
        grown.append({name: after[name] - before[name] for name in SAME})
    assert grown[1] == grown[0]
    assert grown[1]["etcd_mvcc_put_total"] > 0
