"""Requests to a cluster: one method an RPC, with clientv3's rules of what may be tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Protocol, TypeVar

import grpc

from raftkv.client.authentication import Tokens, User
from raftkv.client.endpoints import Credentials, Endpoints
from raftkv.client.errors import ClientError, UnavailableError, from_rpc_error
from raftkv.client.lease import LeaseKeeper
from raftkv.client.range_stream import range_stream
from raftkv.client.snapshot import snapshot_stream
from raftkv.client.watch import Watch
from raftkv.pb.etcd import rpc_pb2 as pb

RETRY_WAIT_S = 0.05
ATTEMPTS_PER_ENDPOINT = 3


class Message(Protocol):
    """What this module needs of a protobuf message."""

    def SerializeToString(self) -> bytes: ...


Response = TypeVar("Response")


class Client:
    """A connection to every endpoint of one cluster, used one at a time.

    Methods take and return the API's own messages; `get`, `put` and `delete` are short forms.
    Reads are repeated on another member when one is unavailable; writes only when the request
    never left this process, because a write's outcome may otherwise be unknown. `timeout_s` bounds
    each request, repetitions included. With a `user` the client authenticates itself, again when
    its token has ended; `token` is one from elsewhere. Raises `ClientError` and its subclasses.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        credentials: Credentials | None = None,
        user: User | None = None,
        token: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        self.endpoints = Endpoints(endpoints, credentials)
        self.endpoints.tokens = Tokens(user, token, self._authenticate)
        self.timeout_s = timeout_s

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; streams that are open end with an error."""
        await self.endpoints.close()

    # KV

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        """Read a key, a range or a count; see `RangeRequest` for the options."""
        return await self._call("KV/Range", request, pb.RangeResponse, read=True)

    def range_stream(self, request: pb.RangeRequest) -> AsyncGenerator[pb.RangeResponse, None]:
        """Read a range in pieces; see `range_stream`. No time limit."""
        return range_stream(self.endpoints, request)

    async def get(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        revision: int = 0,
        limit: int = 0,
        serializable: bool = False,
    ) -> pb.RangeResponse:
        """Read `key`, or `[key, range_end)`; revision 0 is the latest, limit 0 is none."""
        request = pb.RangeRequest(
            key=key,
            range_end=range_end,
            revision=revision,
            limit=limit,
            serializable=serializable,
        )
        return await self.range(request)

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        lease: int = 0,
        prev_kv: bool = False,
        ignore_value: bool = False,
        ignore_lease: bool = False,
    ) -> pb.PutResponse:
        """Write a key; `ignore_value` and `ignore_lease` keep what an existing key has."""
        request = pb.PutRequest(
            key=key,
            value=value,
            lease=lease,
            prev_kv=prev_kv,
            ignore_value=ignore_value,
            ignore_lease=ignore_lease,
        )
        return await self._call("KV/Put", request, pb.PutResponse)

    async def delete(
        self, key: bytes, range_end: bytes = b"", *, prev_kv: bool = False
    ) -> pb.DeleteRangeResponse:
        request = pb.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=prev_kv)
        return await self._call("KV/DeleteRange", request, pb.DeleteRangeResponse)

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """Compare, then apply one branch atomically."""
        return await self._call("KV/Txn", request, pb.TxnResponse)

    async def compact(self, revision: int, *, physical: bool = False) -> pb.CompactionResponse:
        """Drop what `revision` and older superseded; CompactedError where that is done already."""
        request = pb.CompactionRequest(revision=revision, physical=physical)
        return await self._call("KV/Compact", request, pb.CompactionResponse)

    # Watch

    def watch(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        start_revision: int = 0,
        prev_kv: bool = False,
        progress_notify: bool = False,
        filters: Sequence[pb.WatchCreateRequest.FilterType] = (),
    ) -> Watch:
        """Give an unopened watch; iterate it inside `async with`. See `Watch`."""
        request = pb.WatchCreateRequest(
            key=key,
            range_end=range_end,
            start_revision=start_revision,
            prev_kv=prev_kv,
            progress_notify=progress_notify,
            filters=filters,
        )
        return Watch(self.endpoints, request)

    # Lease

    async def lease_grant(self, ttl_s: int, lease_id: int = 0) -> pb.LeaseGrantResponse:
        """Create a lease; id 0 lets the server choose. It may raise a TTL that is too short."""
        request = pb.LeaseGrantRequest(TTL=ttl_s, ID=lease_id)
        return await self._call("Lease/LeaseGrant", request, pb.LeaseGrantResponse)

    async def lease_revoke(self, lease_id: int) -> pb.LeaseRevokeResponse:
        request = pb.LeaseRevokeRequest(ID=lease_id)
        return await self._call("Lease/LeaseRevoke", request, pb.LeaseRevokeResponse)

    async def lease_time_to_live(
        self, lease_id: int, *, keys: bool = False
    ) -> pb.LeaseTimeToLiveResponse:
        """Ask what remains of a lease; TTL -1 means that there is none."""
        request = pb.LeaseTimeToLiveRequest(ID=lease_id, keys=keys)
        return await self._call("Lease/LeaseTimeToLive", request, pb.LeaseTimeToLiveResponse, True)

    async def lease_leases(self) -> pb.LeaseLeasesResponse:
        request = pb.LeaseLeasesRequest()
        return await self._call("Lease/LeaseLeases", request, pb.LeaseLeasesResponse, read=True)

    def lease_keeper(self, lease_id: int, ttl_s: int) -> LeaseKeeper:
        """Give an unopened keeper that renews a lease while its `async with` block runs."""
        return LeaseKeeper(self.endpoints, lease_id, ttl_s)

    async def lease_keep_alive_once(self, lease_id: int) -> pb.LeaseKeepAliveResponse:
        """Renew a lease once; TTL 0 in the answer means that there is none."""
        async with self.lease_keeper(lease_id, ttl_s=1) as keeper:
            return await keeper.renew()

    # Cluster and maintenance

    async def member_list(self, *, linearizable: bool = True) -> pb.MemberListResponse:
        request = pb.MemberListRequest(linearizable=linearizable)
        return await self._call("Cluster/MemberList", request, pb.MemberListResponse, read=True)

    async def status(self, endpoint: int | None = None) -> pb.StatusResponse:
        """Ask one member about itself: the endpoint at that position, or the current one."""
        request = pb.StatusRequest()
        method = "Maintenance/Status"
        if endpoint is None:
            return await self._call(method, request, pb.StatusResponse, read=True)
        return await self._call_at(endpoint, method, request, pb.StatusResponse, self.timeout_s)

    async def alarm_list(self) -> pb.AlarmResponse:
        request = pb.AlarmRequest(action=pb.AlarmRequest.GET)
        return await self._call("Maintenance/Alarm", request, pb.AlarmResponse, read=True)

    async def hash_kv(self, revision: int = 0, endpoint: int | None = None) -> pb.HashKVResponse:
        """Hash the keys up to `revision` (0: the latest) at one member."""
        request = pb.HashKVRequest(revision=revision)
        method = "Maintenance/HashKV"
        if endpoint is None:
            return await self._call(method, request, pb.HashKVResponse, read=True)
        return await self._call_at(endpoint, method, request, pb.HashKVResponse, self.timeout_s)

    def snapshot(self, timeout_s: float | None = None) -> AsyncGenerator[pb.SnapshotResponse, None]:
        """Stream one member's database; see `snapshot_stream`. No time limit unless given."""
        return snapshot_stream(self.endpoints, timeout_s)

    async def member_add(
        self, peer_urls: Sequence[str], *, learner: bool = False
    ) -> pb.MemberAddResponse:
        """Add a member that is to be started afterwards."""
        request = pb.MemberAddRequest(peerURLs=peer_urls, isLearner=learner)
        return await self._call("Cluster/MemberAdd", request, pb.MemberAddResponse)

    async def member_remove(self, member_id: int) -> pb.MemberRemoveResponse:
        request = pb.MemberRemoveRequest(ID=member_id)
        return await self._call("Cluster/MemberRemove", request, pb.MemberRemoveResponse)

    async def member_update(
        self, member_id: int, peer_urls: Sequence[str]
    ) -> pb.MemberUpdateResponse:
        request = pb.MemberUpdateRequest(ID=member_id, peerURLs=peer_urls)
        return await self._call("Cluster/MemberUpdate", request, pb.MemberUpdateResponse)

    async def member_promote(self, member_id: int) -> pb.MemberPromoteResponse:
        """Make a learner that is level with the leader a voter."""
        request = pb.MemberPromoteRequest(ID=member_id)
        return await self._call("Cluster/MemberPromote", request, pb.MemberPromoteResponse)

    async def alarm_disarm(self, member_id: int, alarm: pb.AlarmType) -> pb.AlarmResponse:
        request = pb.AlarmRequest(
            action=pb.AlarmRequest.DEACTIVATE, memberID=member_id, alarm=alarm
        )
        return await self._call("Maintenance/Alarm", request, pb.AlarmResponse)

    async def defragment(self, endpoint: int = 0) -> pb.DefragmentResponse:
        """Defragment one member; etcd stops serving meanwhile, raftkv does not."""
        method, request = "Maintenance/Defragment", pb.DefragmentRequest()
        return await self._call_at(endpoint, method, request, pb.DefragmentResponse, self.timeout_s)

    async def move_leader(self, target: int) -> pb.MoveLeaderResponse:
        """Let the member `target` lead; to be sent to the leader."""
        request = pb.MoveLeaderRequest(targetID=target)
        return await self._call("Maintenance/MoveLeader", request, pb.MoveLeaderResponse)

    async def downgrade(
        self, action: pb.DowngradeRequest.DowngradeAction, version: str = ""
    ) -> pb.DowngradeResponse:
        request = pb.DowngradeRequest(action=action, version=version)
        return await self._call("Maintenance/Downgrade", request, pb.DowngradeResponse)

    async def auth(self, method: str, request: Message, response: type[Response]) -> Response:
        """Call a method of service Auth by name, such as `UserAdd`, with its own messages."""
        return await self._call(f"Auth/{method}", request, response)

    # Carrying it out

    async def _call(
        self, method: str, request: Message, response: type[Response], read: bool = False
    ) -> Response:
        """Send to the current endpoint, moving on by the rules of the class docstring."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout_s
        attempts = ATTEMPTS_PER_ENDPOINT * len(self.endpoints)
        for attempt in range(1, attempts + 1):
            at, _ = self.endpoints.channel()
            remaining = max(deadline - loop.time(), 0.001)
            try:
                return await self._call_at(at, method, request, response, remaining)
            except ClientError as error:
                if not moves_on(error):
                    raise
                self.endpoints.failed(at)
                repeatable = read or not isinstance(error, UnavailableError) or error.unsent
                if not repeatable or attempt == attempts or loop.time() >= deadline:
                    raise
            if attempt % len(self.endpoints) == 0:
                await asyncio.sleep(RETRY_WAIT_S * attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _call_at(
        self, at: int, method: str, request: Message, response: type[Response], timeout_s: float
    ) -> Response:
        """Send to one endpoint; once more with a new token where the old one has ended."""
        tokens = self.endpoints.tokens
        await tokens.ready()
        used = tokens.token
        try:
            return await self._send(at, method, request, response, timeout_s)
        except ClientError as error:
            if not tokens.is_cured(error):
                raise
        await tokens.renew(used)
        return await self._send(at, method, request, response, timeout_s)

    async def _send(
        self, at: int, method: str, request: Message, response: type[Response], timeout_s: float
    ) -> Response:
        _, channel = self.endpoints.channel(at)
        call = channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,  # type: ignore[attr-defined]
        )
        metadata = self.endpoints.tokens.metadata
        try:
            result: Response = await call(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return result

    async def _authenticate(self, name: str, password: str) -> str:
        """Ask the members in turn for a token."""
        request = pb.AuthenticateRequest(name=name, password=password)
        for attempt in range(1, len(self.endpoints) + 1):
            at, _ = self.endpoints.channel()
            try:
                answer = await self._send(
                    at, "Auth/Authenticate", request, pb.AuthenticateResponse, self.timeout_s
                )
                return answer.token
            except ClientError as error:
                self.endpoints.failed(at)
                if not moves_on(error) or attempt == len(self.endpoints):
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")


LEARNER_TEXT = "etcdserver: rpc not supported for learner"


def moves_on(error: ClientError) -> bool:
    """Tell whether another member may do better: this one is away, or has no vote yet."""
    return isinstance(error, UnavailableError) or error.message == LEARNER_TEXT
