"""Metrics of etcd's whose subject does not exist here, or is not measured: zero, and saying why.

Dashboards and alerts that name them find them; nobody is told a figure that was not measured.
"""

from __future__ import annotations

from collections.abc import Iterator

from raftkv.distribution import Distribution
from raftkv.metrics import Family, counter, gauge, histogram

__all__ = ["absent_families"]

_SECONDS = tuple(0.001 * 2**power for power in range(14))
_MILLISECONDS = tuple(100.0 * 2**power for power in range(14))

_NO_DEFRAGMENTATION = "Always zero: defragmentation does nothing here, and stops nobody."
_ONE_STEP = "Always zero: writing and syncing the log is one step, see"
_NO_RAFT_FILES = (
    "Always zero: snapshots are streams of rows into the state, not files of their own."
)
_NOT_TIMED = "Always zero: requests are not timed one by one; see grpc_server_handling_seconds."
_NOT_COUNTED = "Always zero: not counted apart."
_ONE_WRITE = "Always zero: a flush is one sorted write without phases."
_NO_V2 = "Always zero: there is no store of API v2."
_NO_SEND_LOOP = "Always zero: events are encoded once and queued, without a send loop."

_HISTOGRAMS: dict[str, tuple[str, tuple[float, ...]]] = {
    "etcd_debugging_lease_ttl_total": (_NOT_COUNTED, tuple(2.0**power for power in range(24))),
    "etcd_disk_backend_defrag_duration_seconds": (_NO_DEFRAGMENTATION, _SECONDS),
    "etcd_disk_backend_snapshot_duration_seconds": (_NOT_COUNTED, _SECONDS),
    "etcd_disk_wal_write_duration_seconds": (
        f"{_ONE_STEP} etcd_disk_wal_fsync_duration_seconds.",
        _SECONDS,
    ),
    "etcd_snap_db_fsync_duration_seconds": (_NO_RAFT_FILES, _SECONDS),
    "etcd_snap_db_save_total_duration_seconds": (_NO_RAFT_FILES, _SECONDS),
    "etcd_snap_fsync_duration_seconds": (_NO_RAFT_FILES, _SECONDS),
    "etcd_debugging_snap_save_total_duration_seconds": (_NO_RAFT_FILES, _SECONDS),
    "etcd_debugging_snap_save_marshalling_duration_seconds": (_NO_RAFT_FILES, _SECONDS),
    "etcd_debugging_disk_backend_commit_rebalance_duration_seconds": (_ONE_WRITE, _SECONDS),
    "etcd_debugging_disk_backend_commit_spill_duration_seconds": (_ONE_WRITE, _SECONDS),
    "etcd_debugging_disk_backend_commit_write_duration_seconds": (_ONE_WRITE, _SECONDS),
    "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds": (_NOT_COUNTED, _MILLISECONDS),
    "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds": (
        "Always zero: compaction runs in a thread and pauses nobody.",
        _MILLISECONDS,
    ),
    "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds": (
        "Always zero: there is no index in memory to compact.",
        _MILLISECONDS,
    ),
    "etcd_server_range_duration_seconds": (_NOT_TIMED, _SECONDS),
    "etcd_server_request_duration_seconds": (_NOT_TIMED, _SECONDS),
    "etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds": (
        _NO_SEND_LOOP,
        _SECONDS,
    ),
    "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds": (
        _NO_SEND_LOOP,
        _SECONDS,
    ),
    "etcd_debugging_server_watch_send_loop_control_stream_duration_seconds": (
        _NO_SEND_LOOP,
        _SECONDS,
    ),
    "etcd_debugging_server_watch_send_loop_progress_duration_seconds": (_NO_SEND_LOOP, _SECONDS),
}

_COUNTERS: dict[str, str] = {
    "etcd_server_heartbeat_send_failures_total": (
        "Always zero: heartbeats travel with other messages; see"
        " etcd_network_peer_sent_failures_total."
    ),
    "etcd_debugging_mvcc_db_compaction_keys_total": _NOT_COUNTED,
    "etcd_debugging_store_expires_total": _NO_V2,
    "etcd_debugging_store_reads_total": _NO_V2,
    "etcd_debugging_store_writes_total": _NO_V2,
    "etcd_debugging_store_watch_requests_total": _NO_V2,
    "etcd_network_snapshot_receive_failures": (
        "Always zero: a broken transfer goes on where it was; its sender counts those given up."
    ),
    "etcd_network_peer_received_failures_total": (
        "Always zero: a frame that cannot be read ends its connection, which its sender counts."
    ),
}

_GAUGES: dict[str, str] = {
    "etcd_debugging_mvcc_db_compaction_last": _NOT_COUNTED,
    "etcd_disk_defrag_inflight": _NO_DEFRAGMENTATION,
    "etcd_debugging_store_watchers": _NO_V2,
    "etcd_debugging_mvcc_pending_events_total": (
        "Always zero: events wait in the history, not in queues; see"
        " etcd_debugging_mvcc_slow_watcher_total."
    ),
}


def absent_families() -> Iterator[Family]:
    """Yield every metric that is zero for good."""
    for name, (text, bounds) in _HISTOGRAMS.items():
        yield histogram(name, text, Distribution(bounds))
    for name, text in _COUNTERS.items():
        yield counter(name, text, 0)
    for name, text in _GAUGES.items():
        yield gauge(name, text, 0)
