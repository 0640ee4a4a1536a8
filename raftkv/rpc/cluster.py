"""etcdserverpb.Cluster: who the members are."""

from raftkv._native.http2 import MethodTable, Stream
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.registry import ServiceRegistry, unimplemented
from raftkv.server.member import Member

__all__ = ["ClusterService"]


class ClusterService:
    """Lists the members; changing them is refused by name."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def register(self, methods: MethodTable, registry: ServiceRegistry) -> None:
        """Add the methods of the service."""
        service = "/etcdserverpb.Cluster/"
        registry.unary(service + "MemberList", pb.MemberListRequest, self.member_list)
        for name in ("MemberAdd", "MemberRemove", "MemberUpdate", "MemberPromote"):
            unimplemented(methods, service + name, f"etcdserver: {name} is not supported yet")

    async def member_list(
        self, request: pb.MemberListRequest, _stream: Stream
    ) -> pb.MemberListResponse:
        """List all members; the header has no revision, as in etcd."""
        if request.linearizable:
            await self._member.read_barrier()
        return pb.MemberListResponse(
            header=self._member.header(revision=0),
            members=[
                pb.Member(
                    ID=record.id,
                    name=record.name,
                    peerURLs=record.peer_urls,
                    clientURLs=record.client_urls,
                )
                for record in self._member.membership.list()
            ],
        )
