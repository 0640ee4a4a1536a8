"""etcdserverpb.Cluster: who the members are, and who is to be one."""

import time

from raftkv._native.http2 import MethodTable, Stream
from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.raft.configuration_change import ChangeAction
from raftkv.rpc.registry import ServiceRegistry
from raftkv.server.identity import member_id_of
from raftkv.server.member import Member
from raftkv.server.membership import MemberRecord
from raftkv.server.reconfiguration import ChangeRequest, are_peer_urls

__all__ = ["ClusterService"]


class ClusterService:
    """Lists members; adds, removes, updates and promotes them through the log."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def register(self, _methods: MethodTable, registry: ServiceRegistry) -> None:
        """Add the methods of the service."""
        service = "/etcdserverpb.Cluster/"
        registry.unary(service + "MemberList", pb.MemberListRequest, self.member_list)
        registry.unary(service + "MemberAdd", pb.MemberAddRequest, self.member_add)
        registry.unary(service + "MemberRemove", pb.MemberRemoveRequest, self.member_remove)
        registry.unary(service + "MemberUpdate", pb.MemberUpdateRequest, self.member_update)
        registry.unary(service + "MemberPromote", pb.MemberPromoteRequest, self.member_promote)

    async def member_list(
        self, request: pb.MemberListRequest, _stream: Stream
    ) -> pb.MemberListResponse:
        """List all members; the header has no revision, as in etcd."""
        if request.linearizable:
            await self._member.read_barrier()
        return pb.MemberListResponse(
            header=self._member.header(revision=0), members=self._members()
        )

    async def member_add(
        self, request: pb.MemberAddRequest, _stream: Stream
    ) -> pb.MemberAddResponse:
        """Add a voter or a learner, to be started afterwards; its id is new for ever."""
        urls = _checked(list(request.peerURLs))
        token = self._member.config.cluster.token + str(int(time.time()))
        record = MemberRecord(member_id_of(urls, token), "", urls, ())
        action = ChangeAction.ADD_LEARNER if request.isLearner else ChangeAction.ADD_VOTER
        await self._change(ChangeRequest(action, record.id, record))
        return pb.MemberAddResponse(
            header=self._member.header(revision=0),
            member=self._describe(record, request.isLearner),
            members=self._members(),
        )

    async def member_remove(
        self, request: pb.MemberRemoveRequest, _stream: Stream
    ) -> pb.MemberRemoveResponse:
        """Remove a member; its process ends."""
        await self._change(ChangeRequest(ChangeAction.REMOVE, request.ID))
        return pb.MemberRemoveResponse(
            header=self._member.header(revision=0), members=self._members()
        )

    async def member_update(
        self, request: pb.MemberUpdateRequest, _stream: Stream
    ) -> pb.MemberUpdateResponse:
        """Change a member's peer URLs."""
        urls = _checked(list(request.peerURLs))
        known = self._member.membership.get(request.ID)
        name, client_urls = (known.name, known.client_urls) if known else ("", ())
        record = MemberRecord(request.ID, name, urls, client_urls)
        await self._change(ChangeRequest(ChangeAction.UPDATE, request.ID, record))
        return pb.MemberUpdateResponse(
            header=self._member.header(revision=0), members=self._members()
        )

    async def member_promote(
        self, request: pb.MemberPromoteRequest, _stream: Stream
    ) -> pb.MemberPromoteResponse:
        """Make a learner that is nearly level a voter."""
        await self._change(ChangeRequest(ChangeAction.PROMOTE, request.ID))
        return pb.MemberPromoteResponse(
            header=self._member.header(revision=0), members=self._members()
        )

    async def _change(self, request: ChangeRequest) -> None:
        """Have it done, and wait until this member knows, so that it can tell the result."""
        await self._member.changes.change(request)
        if not self._member.is_leader and request.member_id != self._member.id:
            await self._member.read_barrier()

    def _members(self) -> list[pb.Member]:
        learners = self._member.node.configuration.learners
        return [
            self._describe(record, record.id in learners)
            for record in self._member.membership.list()
        ]

    def _describe(self, record: MemberRecord, is_learner: bool) -> pb.Member:
        return pb.Member(
            ID=record.id,
            name=record.name,
            peerURLs=record.peer_urls,
            clientURLs=record.client_urls,
            isLearner=is_learner,
        )


def _checked(urls: list[str]) -> tuple[str, ...]:
    """Return URLs as they are kept. Raises StoreError."""
    if not are_peer_urls(urls):
        raise StoreError(ErrorCode.MEMBER_BAD_URLS)
    return tuple(sorted(url.rstrip("/") for url in urls))
