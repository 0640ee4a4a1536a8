"""Maintenance.Downgrade: validate, begin or cancel the lowering of the cluster's version."""

from raftkv._native.http2 import Stream
from raftkv.errors import ErrorCode, GrpcStatus, StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.grpc_status import RpcError
from raftkv.rpc.registry import ServiceRegistry
from raftkv.server.command import CommandKind
from raftkv.server.member import Member

__all__ = ["DowngradeService"]

UNKNOWN_ACTION = "etcdserver: unknown method"


class DowngradeService:
    """One method of Maintenance."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def register(self, registry: ServiceRegistry) -> None:
        """Add the method."""
        registry.unary("/etcdserverpb.Maintenance/Downgrade", pb.DowngradeRequest, self.downgrade)

    async def downgrade(
        self, request: pb.DowngradeRequest, _stream: Stream
    ) -> pb.DowngradeResponse:
        """Do as asked; the answer has the cluster's version of before."""
        member = self._member
        job = member.cluster.downgrade
        match request.action:
            case pb.DowngradeRequest.VALIDATE | pb.DowngradeRequest.ENABLE:
                await member.read_barrier()
                version = job.cluster_version
                target = job.validate(request.version)
            case pb.DowngradeRequest.CANCEL:
                await member.read_barrier()
                version, target = job.cluster_version, ""
                if not job.target:
                    raise StoreError(ErrorCode.NO_INFLIGHT_DOWNGRADE)
            case _:
                raise RpcError(GrpcStatus.UNKNOWN, UNKNOWN_ACTION)
        if request.action != pb.DowngradeRequest.VALIDATE:
            command = pb.DowngradeRequest(action=request.action, version=target)
            await member.propose_and_wait(CommandKind.DOWNGRADE, command.SerializeToString())
        return pb.DowngradeResponse(header=member.header(), version=version)
