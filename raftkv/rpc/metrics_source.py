"""Everything that one member shows on /metrics, sampled where it is kept anyway."""

from __future__ import annotations

import os
import platform
import resource
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from raftkv.distribution import Distribution
from raftkv.metrics import (
    CONTENT_TYPE,
    Family,
    counter,
    gauge,
    histogram,
    render,
)
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.health import HealthService
from raftkv.rpc.http_exchange import Answer, Headers, Query
from raftkv.rpc.http_routes import HttpRoutes
from raftkv.rpc.metrics_absent import absent_families
from raftkv.rpc.metrics_grpc import CallMetrics
from raftkv.rpc.metrics_network import NetworkMetrics
from raftkv.server.bootstrap import OpenMember
from raftkv.version import ETCD_VERSION

__all__ = ["MemberMetrics"]

DISK_BOUNDS_S = tuple(0.001 * 2**power for power in range(14))
"""As in etcd: 1 ms, doubled thirteen times."""

_LEASE = b"/etcdserverpb.Lease/"
_MAINTENANCE = b"/etcdserverpb.Maintenance/"
_PROMOTE = b"/etcdserverpb.Cluster/MemberPromote"


class MemberMetrics:
    """The figures of one member."""

    def __init__(
        self,
        opened: OpenMember,
        health: HealthService,
        calls: CallMetrics,
        network: NetworkMetrics,
    ) -> None:
        self._opened = opened
        self._member = opened.member
        self._health = health
        self._calls = calls
        self._network = network
        self._syncs = Distribution(DISK_BOUNDS_S)
        self._flushes = Distribution(DISK_BOUNDS_S)

    def register(self, routes: HttpRoutes) -> None:
        """Add /metrics."""
        routes.add("/metrics", self._metrics)

    async def _metrics(
        self, _method: str, _path: str, _query: Query, _headers: Headers, _body: bytes
    ) -> Answer:
        return 200, CONTENT_TYPE, render(self.families())

    def families(self) -> Iterator[Family]:
        """Yield every metric of the member."""
        yield from self._identity()
        yield from self._server()
        yield from self._requests()
        yield from self._disk()
        yield from self._history()
        yield from self._watches_and_leases()
        yield from self._calls.families()
        yield from self._network.families()
        yield from _process()
        yield from absent_families()

    def _identity(self) -> Iterator[Family]:
        local = f"{self._member.id:x}"
        yield gauge("etcd_server_id", "This member, in hexadecimal.").add(1, server_id=local)
        yield gauge("etcd_server_version", "The etcd whose API this is.").add(
            1, server_version=ETCD_VERSION
        )
        yield gauge("etcd_cluster_version", "The version that all members have.").add(
            1, cluster_version=_minor(self._member.cluster.downgrade.cluster_version)
        )
        yield gauge("etcd_server_go_version", "What runs this: not Go.").add(
            1, server_go_version=f"{platform.python_implementation()} {platform.python_version()}"
        )
        yield gauge("etcd_server_feature_enabled", "Feature gates that are on.").add(
            self._member.config.initial_corrupt_check, name="InitialCorruptCheck", stage="ALPHA"
        )

    def _server(self) -> Iterator[Family]:
        member, node = self._member, self._member.node
        yield gauge("etcd_server_has_leader", "1 while a leader is known.", bool(node.leader_id))
        yield gauge("etcd_server_is_leader", "1 while this member leads.", member.is_leader)
        yield gauge("etcd_server_is_learner", "1 while it only learns.", member.is_learner)
        yield counter(
            "etcd_server_leader_changes_seen_total", "Leaders seen.", member.leader_changes
        )
        yield gauge(
            "etcd_server_proposals_committed_total", "Index of the last commit.", node.commit_index
        )
        yield gauge(
            "etcd_server_proposals_applied_total", "Index last applied.", node.applied_index
        )
        yield gauge(
            "etcd_server_proposals_pending",
            "Commands that wait for consensus.",
            member.proposals.pending_count,
        )
        yield counter(
            "etcd_server_proposals_failed_total",
            "Commands that failed to be agreed on, or whose fate is unknown.",
            member.proposals.failed_count,
        )
        yield counter(
            "etcd_server_slow_read_indexes_total",
            "Times that a read had to ask again who leads.",
            member.reads.slow_count,
        )
        yield counter(
            "etcd_server_read_indexes_failed_total", "Reads given up.", member.reads.failed_count
        )
        yield counter("etcd_server_health_success", "Probes passed.", self._health.successes)
        yield counter("etcd_server_health_failures", "Probes failed.", self._health.failures)
        alarms = gauge("etcd_debugging_server_alarms", "1 for an alarm that is armed.")
        for one in member.cluster.alarms.armed():
            alarms.add(1, server_id=f"{one.memberID:x}", alarm_type=pb.AlarmType.Name(one.alarm))
        yield alarms
        yield gauge(
            "etcd_debugging_auth_revision",
            "How often users, roles or permissions changed.",
            member.cluster.auth.store.revision,
        )

    def _requests(self) -> Iterator[Family]:
        calls, house = self._calls, self._member.housekeeping
        keys, puts, deletes, ranges, txns, put_bytes = self._member.store.counts()
        yield gauge("etcd_debugging_mvcc_keys_total", "Keys that there are.", keys)
        yield counter("etcd_mvcc_put_total", "Puts applied, in transactions too.", puts)
        yield counter("etcd_mvcc_delete_total", "DeleteRanges applied, likewise.", deletes)
        yield counter("etcd_mvcc_range_total", "Ranges served, likewise.", ranges)
        yield counter("etcd_mvcc_txn_total", "Transactions of more than one operation.", txns)
        yield gauge(
            "etcd_debugging_mvcc_total_put_size_in_bytes", "Keys and values put.", put_bytes
        )
        yield counter(
            "etcd_server_slow_apply_total",
            "Turns that applied for longer than --warning-apply-duration.",
            house.slow_apply_count,
        )
        yield histogram(
            "etcd_server_apply_duration_seconds",
            "Duration of applying all that one turn of the loop had to.",
        ).add_distribution(house.apply_times, version="v3", op="Batch", success="true")
        promoted = calls.handled(_PROMOTE)
        yield counter(
            "etcd_server_learner_promote_successes",
            "Learners promoted by way of this member.",
            promoted.get(0, 0),
        )
        yield counter(
            "etcd_server_learner_promote_failures",
            "Promotions that this member refused.",
            sum(promoted.values()) - promoted.get(0, 0),
        )
        yield histogram(
            "etcd_mvcc_hash_duration_seconds",
            "Duration of Hash requests.",
            calls.durations(_MAINTENANCE + b"Hash"),
        )
        yield histogram(
            "etcd_mvcc_hash_rev_duration_seconds",
            "Duration of HashKV requests.",
            calls.durations(_MAINTENANCE + b"HashKV"),
        )

    def _disk(self) -> Iterator[Family]:
        member = self._member
        _drain(self._opened.writer.sync_durations_s, self._syncs)
        _drain(self._opened.flush_pool.durations_s, self._flushes)
        yield histogram(
            "etcd_disk_wal_fsync_duration_seconds",
            "Duration of a synced append to the log.",
            self._syncs,
        )
        yield histogram(
            "etcd_disk_backend_commit_duration_seconds",
            "Duration of a synced flush of the state, or of a step of compaction.",
            self._flushes,
        )
        yield gauge(
            "etcd_disk_wal_write_bytes_total",
            "Bytes of entries appended to the log.",
            self._opened.writer.written_bytes,
        )
        size, in_use = member.store.db_size()
        yield gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the state's file.", size)
        yield gauge(
            "etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of it that hold data.", in_use
        )
        yield gauge(
            "etcd_server_quota_backend_bytes",
            "Bytes in use beyond which nothing may be added.",
            member.config.quota_bytes,
        )
        yield gauge(
            "etcd_mvcc_db_open_read_transactions",
            "The one that reads are served from; those of snapshots under way are not counted.",
            1,
        )

    def _history(self) -> Iterator[Family]:
        store = self._member.store
        yield gauge("etcd_debugging_mvcc_current_revision", "The revision.", store.revision)
        yield gauge(
            "etcd_debugging_mvcc_compact_revision",
            "The revision below which history is gone.",
            store.compact_revision,
        )

    def _watches_and_leases(self) -> Iterator[Family]:
        hub, leases, calls = self._member.hub, self._member.leases, self._calls
        yield gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", hub.watcher_count)
        yield gauge("etcd_debugging_mvcc_watch_stream_total", "Watch streams.", hub.stream_count)
        yield gauge(
            "etcd_debugging_mvcc_slow_watcher_total",
            "Watchers that are fed from history.",
            hub.slow_count,
        )
        yield counter(
            "etcd_debugging_mvcc_events_total", "Events sent to watchers.", hub.events_sent
        )
        yield counter(
            "etcd_debugging_lease_granted_total",
            "Leases granted by way of this member.",
            calls.handled(_LEASE + b"LeaseGrant").get(0, 0),
        )
        yield counter(
            "etcd_debugging_lease_revoked_total",
            "Leases revoked by way of this member, or expired while it led.",
            calls.handled(_LEASE + b"LeaseRevoke").get(0, 0) + leases.expired_count,
        )
        yield counter("etcd_debugging_lease_renewed_total", "Renewals.", leases.renewed_count)
        yield counter(
            "etcd_debugging_server_lease_expired_total",
            "Leases found expired while this member led.",
            leases.expired_count,
        )


def _drain(durations: deque[float], into: Distribution) -> None:
    """Move the durations that a thread has left for us."""
    for _ in range(len(durations)):
        into.observe(durations.popleft())


def _minor(version: str) -> str:
    major, minor, _ = version.split(".", 2)
    return f"{major}.{minor}.0"


def _process() -> Iterator[Family]:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    memory, _ = resource.getrlimit(resource.RLIMIT_AS)
    yield gauge("os_fd_limit", "File descriptors that this process may have.", descriptors)
    used = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    yield gauge("os_fd_used", "File descriptors that it has.", used)
    yield gauge(
        "process_virtual_memory_max_bytes",
        "Address space that it may have; -1 is no limit.",
        memory if memory != resource.RLIM_INFINITY else -1,
    )
