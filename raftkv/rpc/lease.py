"""etcdserverpb.Lease: grants and revocations through the log, time asked of the leader."""

import secrets

from raftkv._native.http2 import MethodTable, Stream
from raftkv.errors import ERRORS, ErrorCode, StoreError
from raftkv.lease.lessor import TTL_MAX_S
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.keep_alive import KeepAliveCall, KeepAlives
from raftkv.rpc.registry import ServiceRegistry
from raftkv.server.command import CommandKind
from raftkv.server.member import Member

__all__ = ["LeaseService"]


class LeaseService:
    """Grant, revoke, keep alive, time to live, list."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def register(self, methods: MethodTable, registry: ServiceRegistry) -> None:
        """Add the methods of the service."""
        service = "/etcdserverpb.Lease/"
        registry.unary(service + "LeaseGrant", pb.LeaseGrantRequest, self.grant)
        methods.unary(b"/etcdserverpb.Lease/LeaseRevoke", self.revoke)
        keep_alives = KeepAlives(self._member, registry)
        methods.streaming(
            b"/etcdserverpb.Lease/LeaseKeepAlive",
            lambda stream: self._keep_alive(stream, keep_alives),
        )
        registry.unary(service + "LeaseTimeToLive", pb.LeaseTimeToLiveRequest, self.time_to_live)
        registry.unary(service + "LeaseLeases", pb.LeaseLeasesRequest, self.leases)

    async def grant(self, request: pb.LeaseGrantRequest, _stream: Stream) -> pb.LeaseGrantResponse:
        """Grant a lease; the id is chosen and the TTL raised to the minimum before replication."""
        if request.TTL > TTL_MAX_S:
            raise StoreError(ErrorCode.LEASE_TTL_TOO_LARGE)
        if self._member.cluster.alarms.is_corrupt:
            raise StoreError(ErrorCode.CORRUPT)
        if self._member.quota.refuses(CommandKind.LEASE_GRANT, b""):
            raise StoreError(ErrorCode.NO_SPACE)
        command = pb.LeaseGrantRequest(
            ID=request.ID or secrets.randbelow((1 << 63) - 1) + 1,
            TTL=self._member.leases.lessor.resolve_ttl(request.TTL),
        )
        answer = await self._member.propose_and_wait(
            CommandKind.LEASE_GRANT, command.SerializeToString()
        )
        return pb.LeaseGrantResponse.FromString(answer)

    def revoke(self, stream: Stream, message: bytes) -> None:
        """Revoke a lease and delete its keys in one revision."""
        if self._member.is_learner or self._member.cluster.alarms.is_corrupt:
            learner = self._member.is_learner
            code = ErrorCode.NOT_SUPPORTED_FOR_LEARNER if learner else ErrorCode.CORRUPT
            stream.fail(*ERRORS[code])
            return
        self._member.propose(CommandKind.LEASE_REVOKE, message, stream)

    def _keep_alive(self, stream: Stream, keep_alives: KeepAlives) -> KeepAliveCall:
        """Renew leases as long as the client asks."""
        if self._member.is_learner:
            stream.finish(*ERRORS[ErrorCode.NOT_SUPPORTED_FOR_LEARNER])
        return keep_alives.open(stream)

    async def time_to_live(
        self, request: pb.LeaseTimeToLiveRequest, _stream: Stream
    ) -> pb.LeaseTimeToLiveResponse:
        """Say how long a lease lives and, if asked, its keys; -1 for an unknown one."""
        left_s, granted_s = await self._member.leases.time_to_live(request.ID)
        response = pb.LeaseTimeToLiveResponse(ID=request.ID, TTL=left_s, grantedTTL=granted_s)
        if request.keys and granted_s:
            await self._member.read_barrier()
            response.keys.extend(self._member.store.lease_keys(request.ID))
        response.header.CopyFrom(self._member.header())
        return response

    async def leases(
        self, _request: pb.LeaseLeasesRequest, _stream: Stream
    ) -> pb.LeaseLeasesResponse:
        """List the leases that this member knows, the soonest to expire first at the leader."""
        return pb.LeaseLeasesResponse(
            header=self._member.header(),
            leases=[pb.LeaseStatus(ID=one) for one in self._member.leases.lessor.by_expiry()],
        )
