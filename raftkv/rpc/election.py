"""v3electionpb.Election: who leads in a name, told by a value that the leader may change."""

import asyncio

from raftkv._native.http2 import Stream
from raftkv.errors import GrpcStatus
from raftkv.pb.etcd import election_pb2 as pb
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as rpc
from raftkv.rpc.grpc_status import RpcError
from raftkv.rpc.lease import LeaseService
from raftkv.rpc.local_call import LocalServices
from raftkv.rpc.ownership import Keys, end_of, first_of, prefix_of
from raftkv.rpc.registry import Call, ServiceRegistry

__all__ = ["ElectionService"]

MISSING_LEADER = '"leader" field must be provided'
NOT_LEADER = "election: not leader"
NO_LEADER = "election: no leader"


class ElectionService:
    """Campaign waits until the caller leads; its leadership lasts as long as its lease or key."""

    def __init__(self, services: LocalServices, lease: LeaseService) -> None:
        self._services = (services, lease)

    def register(self, registry: ServiceRegistry) -> None:
        """Add the methods of the service."""
        service = "/v3electionpb.Election/"
        registry.unary(service + "Campaign", pb.CampaignRequest, self.campaign)
        registry.unary(service + "Proclaim", pb.ProclaimRequest, self.proclaim)
        registry.unary(service + "Leader", pb.LeaderRequest, self.leader)
        registry.unary(service + "Resign", pb.ResignRequest, self.resign)
        registry.streaming(service + "Observe", pb.LeaderRequest, self.observe)

    async def campaign(self, request: pb.CampaignRequest, stream: Stream) -> pb.CampaignResponse:
        """Lead; a caller that goes away before it does leaves no candidacy behind."""
        keys = Keys(*self._services, stream)
        lease = await keys.session(request.lease)
        claim = await keys.claim(request.name, lease, request.value)
        leader = pb.LeaderKey(name=request.name, key=claim.key, rev=claim.revision, lease=lease)
        try:
            if claim.value != request.value:
                await self._proclaim(keys, leader, request.value)
            if not claim.owns:
                await keys.wait_for_turn(request.name, claim)
        except (asyncio.CancelledError, RpcError):
            keys.abandon(claim.key)
            raise
        return pb.CampaignResponse(header=claim.header, leader=leader)

    async def proclaim(self, request: pb.ProclaimRequest, stream: Stream) -> pb.ProclaimResponse:
        """Change the leader's value; refused where it does not lead any more."""
        leader = _named(request.HasField("leader"), request.leader)
        header = await self._proclaim(Keys(*self._services, stream), leader, request.value)
        return pb.ProclaimResponse(header=header)

    async def _proclaim(self, keys: Keys, leader: pb.LeaderKey, value: bytes) -> rpc.ResponseHeader:
        put = rpc.PutRequest(key=leader.key, value=value, lease=leader.lease)
        response = await keys.txn(
            rpc.TxnRequest(compare=[_is(leader)], success=[rpc.RequestOp(request_put=put)])
        )
        if not response.succeeded:
            raise RpcError(GrpcStatus.UNKNOWN, NOT_LEADER)
        return response.header

    async def leader(self, request: pb.LeaderRequest, stream: Stream) -> pb.LeaderResponse:
        """Say who leads."""
        response = await Keys(*self._services, stream).range(first_of(request.name))
        if not response.kvs:
            raise RpcError(GrpcStatus.UNKNOWN, NO_LEADER)
        return pb.LeaderResponse(header=response.header, kv=response.kvs[0])

    async def resign(self, request: pb.ResignRequest, stream: Stream) -> pb.ResignResponse:
        """Lead no more; it is no error when somebody else does."""
        leader = _named(request.HasField("leader"), request.leader)
        delete = rpc.DeleteRangeRequest(key=leader.key)
        response = await Keys(*self._services, stream).txn(
            rpc.TxnRequest(
                compare=[_is(leader)], success=[rpc.RequestOp(request_delete_range=delete)]
            )
        )
        return pb.ResignResponse(header=response.header)

    async def observe(self, call: Call[pb.LeaderRequest, pb.LeaderResponse]) -> None:
        """Tell the leader, each of its values, and each leader after it, for ever.

        A leader that leads and ends while another is watched may be passed over, never reordered.
        """
        async for request in call:
            keys = Keys(*self._services, call.stream)
            while True:
                response = await keys.range(first_of(request.name))
                if response.kvs:
                    told = pb.LeaderResponse(header=response.header, kv=response.kvs[0])
                    await call.send(told)
                    await self._follow(keys, told, call)
                else:
                    await self._wait_for_any(keys, request.name, response.header.revision)

    async def _wait_for_any(self, keys: Keys, name: bytes, revision: int) -> None:
        """Return when a key of the name was put after `revision`, or may have been."""
        prefix = prefix_of(name)
        create = rpc.WatchCreateRequest(
            key=prefix,
            range_end=end_of(prefix),
            start_revision=revision + 1,
            filters=[rpc.WatchCreateRequest.NODELETE],
        )
        async with keys.watch(create) as events:
            async for response in events:
                if _ends(response) or response.events:
                    return

    async def _follow(
        self,
        keys: Keys,
        told: pb.LeaderResponse,
        call: Call[pb.LeaderRequest, pb.LeaderResponse],
    ) -> None:
        """Tell each further value of one leader; return when its key is gone, or may be."""
        create = rpc.WatchCreateRequest(key=told.kv.key, start_revision=told.header.revision + 1)
        async with keys.watch(create) as events:
            async for response in events:
                if _ends(response):
                    return
                for event in response.events:
                    if event.type == kv_pb2.Event.DELETE:
                        return
                    header = rpc.ResponseHeader()
                    header.CopyFrom(response.header)
                    header.revision = event.kv.mod_revision
                    await call.send(pb.LeaderResponse(header=header, kv=event.kv))


def _named(is_there: bool, leader: pb.LeaderKey) -> pb.LeaderKey:
    """Return the leader that a request must name. Raises RpcError."""
    if not is_there:
        raise RpcError(GrpcStatus.UNKNOWN, MISSING_LEADER)
    return leader


def _is(leader: pb.LeaderKey) -> rpc.Compare:
    """Demand that the key is still the one with which its owner became leader."""
    return rpc.Compare(key=leader.key, target=rpc.Compare.CREATE, create_revision=leader.rev)


def _ends(response: rpc.WatchResponse) -> bool:
    """Tell whether a watch is compacted: look again. Raises RpcError where it is refused."""
    if response.canceled and not response.compact_revision:
        raise RpcError(GrpcStatus.UNKNOWN, response.cancel_reason)
    return response.canceled
