"""The client port: every service on one listener, for as long as the member runs."""

import asyncio

from raftkv._native.http2 import Limits, Server, Stream
from raftkv.config import REQUEST_OVERHEAD_BYTES
from raftkv.descriptors import connections_allowed
from raftkv.errors import ErrorCode, StoreError
from raftkv.rpc.auth import AuthService, make_gate, make_tokens
from raftkv.rpc.auth_gate import GuardedMethodTable
from raftkv.rpc.cluster import ClusterService
from raftkv.rpc.downgrade import DowngradeService
from raftkv.rpc.election import ElectionService
from raftkv.rpc.grpc_health import HealthCheckService
from raftkv.rpc.http_front import HttpFront
from raftkv.rpc.kv import KvService
from raftkv.rpc.lease import LeaseService
from raftkv.rpc.listeners import Listeners
from raftkv.rpc.local_call import LocalServices
from raftkv.rpc.lock import LockService
from raftkv.rpc.maintenance import MaintenanceService
from raftkv.rpc.range_stream import RangeStreamService
from raftkv.rpc.reflection import ReflectionService
from raftkv.rpc.registry import ServiceRegistry
from raftkv.rpc.require_leader import lacks_leader
from raftkv.rpc.snapshot import SnapshotService
from raftkv.rpc.watch import WatchService
from raftkv.server.bootstrap import OpenMember

__all__ = ["Front"]

LEARNER_SERVES = frozenset(
    {"/etcdserverpb.Maintenance/Status", "/etcdserverpb.Maintenance/Snapshot"}
)
"""Beside serializable ranges."""

ABOUT_THE_SERVER = ("/grpc.health.", "/grpc.reflection.")
"""Services that every member has."""


class Front:
    """Serves clients of one member."""

    def __init__(self, opened: OpenMember) -> None:
        member = opened.member
        self._member = member
        tokens = make_tokens(member)
        methods = GuardedMethodTable(make_gate(member, tokens))
        self._registry = ServiceRegistry(methods, refuse=self._refuse)
        self._watch = WatchService(member)
        kv = KvService(member)
        kv.register(methods)
        self._watch.register(methods)
        lease = LeaseService(member)
        lease.register(methods, self._registry)
        ClusterService(member).register(methods, self._registry)
        MaintenanceService(member).register(self._registry)
        DowngradeService(member).register(self._registry)
        services = LocalServices(methods)
        RangeStreamService(member, services).register(self._registry)
        LockService(services, lease).register(self._registry)
        ElectionService(services, lease).register(self._registry)
        SnapshotService(member).register(self._registry)
        self._auth = AuthService(member, tokens)
        self._auth.register(self._registry)
        HealthCheckService(member).register(self._registry)
        ReflectionService(methods).register(self._registry)
        self._http = HttpFront(opened, methods)
        limits = Limits()
        connections_max = connections_allowed(limits.connections_max)
        self._server = Server(
            methods,
            self._http.client_protocol,
            Limits(
                request_bytes_max=member.config.request_bytes_max + REQUEST_OVERHEAD_BYTES,
                concurrent_streams_max=min(
                    member.config.concurrent_streams_max, limits.concurrent_streams_max
                ),
                connections_max=connections_max,
                ping_interval_min_s=member.config.keep_alive.interval_min_s,
                ping_client_after_s=member.config.keep_alive.interval_s,
                ping_answer_s=member.config.keep_alive.timeout_s,
            ),
            self._http.serve_stream,
            self._http.open_stream,
        )
        self._http.count_bytes_of(self._server)
        member.on_turn_end = self._server.flush
        self._server.on_read_begin = member.begin_client_read
        self._server.on_read_end = member.end_client_read
        self._listeners = Listeners(member.config, connections_max)
        self._leader_check: asyncio.TimerHandle | None = None

    def _refuse(self, path: str, stream: Stream) -> Exception | None:
        """A learner tells only how it is; everything else is asked of a voter."""
        if path.startswith(ABOUT_THE_SERVER):
            return None
        if self._member.is_learner and path not in LEARNER_SERVES:
            return StoreError(ErrorCode.NOT_SUPPORTED_FOR_LEARNER)
        if lacks_leader(self._member, stream):
            return StoreError(ErrorCode.NO_LEADER)
        return None

    async def start(self) -> None:
        """Listen on every client and metrics URL. Raises OSError where one cannot be had."""
        config = self._member.config
        for endpoint in config.listen_client:
            await self._listeners.open(endpoint, self._server.protocol_factory)
        for endpoint in config.listen_metrics:
            await self._listeners.open(endpoint, self._http.metrics_protocol)
        for endpoint in config.listen_http:
            await self._listeners.open(endpoint, self._http.http_protocol)
        self._http.start()
        self._check_leader()

    def _check_leader(self) -> None:
        self._watch.check_leader()
        self._leader_check = asyncio.get_running_loop().call_later(
            self._member.config.election_timeout_s, self._check_leader
        )

    async def close(self) -> None:
        """Take no more connections, end the calls under way, close every connection."""
        if self._leader_check is not None:
            self._leader_check.cancel()
        self._listeners.close()
        await self._registry.close()
        self._auth.close()
        self._server.goaway()
        self._server.close()
        self._http.close()
        self._server.flush()
