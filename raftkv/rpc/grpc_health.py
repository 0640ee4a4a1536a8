"""grpc.health.v1.Health: whether this member serves, for load balancers and for gRPC clients.

One service is known, "": the whole server. etcd says SERVING as long as it runs; here it is said
only while the member has a leader and no CORRUPT alarm, as nothing else would be served well.
"""

from __future__ import annotations

import asyncio

from raftkv._native.http2 import Stream
from raftkv.errors import GrpcStatus
from raftkv.pb.etcd import health_pb2 as pb
from raftkv.rpc.grpc_status import RpcError
from raftkv.rpc.registry import Call, ServiceRegistry
from raftkv.server.member import Member

__all__ = ["HealthCheckService"]

SERVICE = "grpc.health.v1.Health"
WHOLE_SERVER = ""
POLL_S = 0.1
"""How often a watched state is looked at."""

Status = pb.HealthCheckResponse.ServingStatus


class HealthCheckService:
    """Answers Check, and tells Watch each change."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def register(self, registry: ServiceRegistry) -> None:
        """Add the methods of the service; learners answer them, too."""
        registry.unary(f"/{SERVICE}/Check", pb.HealthCheckRequest, self.check)
        registry.streaming(f"/{SERVICE}/Watch", pb.HealthCheckRequest, self.watch)

    async def check(
        self, request: pb.HealthCheckRequest, _stream: Stream
    ) -> pb.HealthCheckResponse:
        """Say whether the member serves."""
        if request.service != WHOLE_SERVER:
            raise RpcError(GrpcStatus.NOT_FOUND, "unknown service")
        return pb.HealthCheckResponse(status=self._status())

    async def watch(self, call: Call[pb.HealthCheckRequest, pb.HealthCheckResponse]) -> None:
        """Say it now and at each change, until the client goes away."""
        told = -1
        async for request in call:
            while True:
                status = (
                    self._status()
                    if request.service == WHOLE_SERVER
                    else pb.HealthCheckResponse.SERVICE_UNKNOWN
                )
                if status != told:
                    told = status
                    await call.send(pb.HealthCheckResponse(status=status))
                await asyncio.sleep(POLL_S)

    def _status(self) -> pb.HealthCheckResponse.ServingStatus:
        serves = self._member.node.leader_id and not self._member.cluster.alarms.is_corrupt
        return pb.HealthCheckResponse.SERVING if serves else pb.HealthCheckResponse.NOT_SERVING
