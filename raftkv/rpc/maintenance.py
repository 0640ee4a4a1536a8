"""etcdserverpb.Maintenance: the state of this member, for people and for clients that check it."""

from raftkv._native.http2 import Stream
from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.raft.errors import RaftError
from raftkv.rpc.registry import ServiceRegistry
from raftkv.server.command import CommandKind
from raftkv.server.member import Member
from raftkv.storage.state_hash import hash_state
from raftkv.version import ETCD_VERSION

__all__ = ["MaintenanceService"]


class MaintenanceService:
    """Status, alarms, hashes, leadership."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def register(self, registry: ServiceRegistry) -> None:
        """Add the methods of the service."""
        service = "/etcdserverpb.Maintenance/"
        registry.unary(service + "Status", pb.StatusRequest, self.status)
        registry.unary(service + "Alarm", pb.AlarmRequest, self.alarm)
        registry.unary(service + "Defragment", pb.DefragmentRequest, self.defragment)
        registry.unary(service + "Hash", pb.HashRequest, self.hash)
        registry.unary(service + "HashKV", pb.HashKVRequest, self.hash_kv)
        registry.unary(service + "MoveLeader", pb.MoveLeaderRequest, self.move_leader)

    async def status(self, _request: pb.StatusRequest, _stream: Stream) -> pb.StatusResponse:
        """Describe this member; answered without a leader too."""
        member = self._member
        size, in_use = member.store.db_size()
        node = member.node
        return pb.StatusResponse(
            header=member.header(),
            version=ETCD_VERSION,
            dbSize=max(1, size),
            dbSizeInUse=in_use,
            dbSizeQuota=member.config.quota_bytes,
            leader=node.leader_id,
            raftIndex=node.commit_index,
            raftTerm=node.term,
            raftAppliedIndex=node.applied_index,
            errors=[
                *([] if node.leader_id else ["etcdserver: no leader"]),
                *member.cluster.alarms.texts(),
            ],
            isLearner=member.is_learner,
            storageVersion=member.cluster.downgrade.cluster_version,
            downgradeInfo=member.cluster.downgrade.info(),
        )

    async def alarm(self, request: pb.AlarmRequest, _stream: Stream) -> pb.AlarmResponse:
        """List alarms, or arm or disarm one through the log.

        To disarm what is not armed is no error, and the answer lists nothing.
        """
        member = self._member
        alarms = member.cluster.alarms
        if request.action == pb.AlarmRequest.GET:
            await member.read_barrier()
            found = alarms.armed(request.memberID, request.alarm)
            return pb.AlarmResponse(header=member.header(), alarms=found)
        if request.alarm == pb.NONE:
            return pb.AlarmResponse(header=member.header())
        answer = await member.propose_and_wait(CommandKind.ALARM, request.SerializeToString())
        response = pb.AlarmResponse.FromString(answer)
        response.header.CopyFrom(member.header())
        return response

    async def defragment(
        self, _request: pb.DefragmentRequest, _stream: Stream
    ) -> pb.DefragmentResponse:
        """Do nothing: pages that compaction freed are reused without stopping anybody."""
        return pb.DefragmentResponse()

    async def hash(self, _request: pb.HashRequest, _stream: Stream) -> pb.HashResponse:
        """Hash all history that there is, as it is now."""
        value, _, _ = await hash_state(self._member.store, 0)
        return pb.HashResponse(header=self._member.header(), hash=value)

    async def hash_kv(self, request: pb.HashKVRequest, _stream: Stream) -> pb.HashKVResponse:
        """Hash the history up to a revision, for comparison between members."""
        value, compact_revision, revision = await hash_state(self._member.store, request.revision)
        return pb.HashKVResponse(
            header=self._member.header(),
            hash=value,
            compact_revision=compact_revision,
            hash_revision=revision,
        )

    async def move_leader(
        self, request: pb.MoveLeaderRequest, _stream: Stream
    ) -> pb.MoveLeaderResponse:
        """Hand the leadership over; answered when another member leads."""
        member = self._member
        if not member.is_leader:
            raise StoreError(ErrorCode.NOT_LEADER)
        try:
            await member.transfer_leadership(request.targetID)
        except RaftError as error:
            raise StoreError(ErrorCode.BAD_LEADER_TRANSFEREE) from error
        return pb.MoveLeaderResponse()
