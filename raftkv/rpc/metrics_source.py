"""Sample a member for /metrics."""

from collections.abc import Sequence

from raftkv._native.http2 import Server
from raftkv.metrics import Scraper
from raftkv.rpc.health import HealthService
from raftkv.rpc.http_exchange import Answer, Headers, Query
from raftkv.rpc.http_routes import HttpRoutes
from raftkv.rpc.kv import KvService
from raftkv.server.bootstrap import OpenMember
from raftkv.version import ETCD_VERSION

__all__ = ["MemberMetrics"]

Figures = dict[str, tuple[float, str]]


class MemberMetrics:
    """The figures of one member, read where they are kept anyway."""

    def __init__(self, opened: OpenMember, kv: KvService, health: HealthService) -> None:
        self._opened = opened
        self._member = opened.member
        self._kv = kv
        self._health = health
        self._scraper = Scraper(self)
        self.servers: Sequence[Server] = ()
        """The servers whose bytes are counted."""

    def register(self, routes: HttpRoutes) -> None:
        """Add /metrics."""
        routes.add("/metrics", self._metrics)

    async def _metrics(
        self, _method: str, _path: str, _query: Query, _headers: Headers, _body: bytes
    ) -> Answer:
        return 200, self._scraper.content_type, self._scraper.render()

    def gauges(self) -> Figures:
        """Return what goes up and down."""
        member, node, hub = self._member, self._member.node, self._member.hub
        size, in_use = member.store.db_size()
        return {
            "etcd_server_has_leader": (bool(node.leader_id), "Whether a leader exists. 1 is yes."),
            "etcd_server_is_leader": (member.is_leader, "Whether this member is the leader."),
            "etcd_server_is_learner": (member.is_learner, "Whether this member is a learner."),
            "etcd_server_proposals_pending": (
                member.proposals.pending_count,
                "Commands that wait for consensus.",
            ),
            "etcd_server_proposals_committed_total": (
                node.commit_index,
                "The index of the last committed entry.",
            ),
            "etcd_server_proposals_applied_total": (
                node.applied_index,
                "The index of the last applied entry.",
            ),
            "etcd_server_quota_backend_bytes": (member.config.quota_bytes, "The quota."),
            "etcd_mvcc_db_total_size_in_bytes": (size, "Bytes of the state's file."),
            "etcd_mvcc_db_total_size_in_use_in_bytes": (in_use, "Bytes of the state in use."),
            "etcd_debugging_mvcc_current_revision": (member.store.revision, "The revision."),
            "etcd_debugging_mvcc_compact_revision": (
                member.store.compact_revision,
                "The compact revision.",
            ),
            "etcd_debugging_mvcc_watcher_total": (hub.watcher_count, "Watchers."),
            "etcd_debugging_mvcc_watch_stream_total": (hub.stream_count, "Watch streams."),
            "etcd_debugging_mvcc_slow_watcher_total": (hub.slow_count, "Unsynced watchers."),
        }

    def counters(self) -> Figures:
        """Return what only goes up."""
        member, leases = self._member, self._member.leases
        return {
            "etcd_server_leader_changes_seen": (member.leader_changes, "Leader changes seen."),
            "etcd_server_proposals_failed": (member.proposals.failed_count, "Failed commands."),
            "etcd_server_slow_read_indexes": (member.reads.slow_count, "ReadIndex asked twice."),
            "etcd_server_read_indexes_failed": (member.reads.failed_count, "Failed reads."),
            "etcd_server_health_success": (self._health.successes, "Health checks passed."),
            "etcd_server_health_failures": (self._health.failures, "Health checks failed."),
            "etcd_mvcc_put": (self._kv.put_count, "Put requests seen by this member."),
            "etcd_mvcc_delete": (self._kv.delete_count, "DeleteRange requests seen here."),
            "etcd_mvcc_txn": (self._kv.txn_count, "Txn requests seen by this member."),
            "etcd_mvcc_range": (self._kv.range_count, "Range requests seen by this member."),
            "etcd_debugging_mvcc_events": (member.hub.events_sent, "Events sent to watchers."),
            "etcd_debugging_lease_renewed": (leases.renewed_count, "Leases renewed."),
            "etcd_debugging_server_lease_expired": (leases.expired_count, "Leases expired."),
        }

    def labelled(self) -> dict[str, tuple[str, str, str]]:
        """Return the constants that are told as labels."""
        return {
            "etcd_server_id": ("server_id", f"{self._member.id:x}", "Server id in hexadecimal."),
            "etcd_server_version": ("server_version", ETCD_VERSION, "The server's version."),
            "etcd_cluster_version": ("cluster_version", ETCD_VERSION, "The cluster's version."),
        }

    def take_sync_durations(self) -> list[float]:
        """Return and forget the durations of the log's syncs."""
        kept = self._opened.writer.sync_durations_s
        return [kept.popleft() for _ in range(len(kept))]
