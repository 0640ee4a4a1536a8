"""Who owns a name: the keys `<name>/<lease in hex>`, of which the oldest one does.

This is the algorithm of etcd's client library (client/v3/concurrency), so that its clients and
those of the services Lock and Election can queue for the same names. Each contender creates its
key once, bound to its lease, and waits until no key of the name is older; each waits for the one
just before it only, so that an owner's end wakes one contender and not all.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar, cast

from raftkv._native.http2 import Stream
from raftkv.errors import GrpcStatus, StoreError
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc import local_call
from raftkv.rpc.grpc_status import RpcError
from raftkv.rpc.lease import LeaseService
from raftkv.rpc.local_call import LocalServices, LocalStream, LocalWatch

__all__ = ["Claim", "Keys", "first_of"]

SESSION_TTL_S = 60
"""The lease of a caller that brings none."""

Answer = TypeVar("Answer")


def prefix_of(name: bytes) -> bytes:
    """Return what the keys of a name begin with."""
    return name + b"/"


def end_of(prefix: bytes) -> bytes:
    """Return the end of the range of a name's keys; `prefix` ends with a slash."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def first_of(name: bytes) -> pb.RangeRequest:
    """Return the request for the key that owns a name."""
    prefix = prefix_of(name)
    return pb.RangeRequest(
        key=prefix,
        range_end=end_of(prefix),
        sort_target=pb.RangeRequest.CREATE,
        sort_order=pb.RangeRequest.ASCEND,
        limit=1,
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """One contender's key."""

    key: bytes
    revision: int
    """The one that created the key: the lowest of a name owns it."""
    lease: int
    value: bytes
    """What the key held when it was claimed, by an earlier call maybe."""
    owner_revision: int
    """The create revision of the owner's key, as of the claim."""
    header: pb.ResponseHeader

    @property
    def owns(self) -> bool:
        """Whether the name is this contender's already."""
        return self.revision == self.owner_revision


class Keys:
    """The services that are needed, called in the name of one caller. Raises RpcError.

    Refusals keep etcd's text and have the code UNKNOWN, as its own services pass them on.
    """

    def __init__(self, services: LocalServices, lease: LeaseService, caller: Stream) -> None:
        self._services = services
        self._lease = lease
        self._caller = caller

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        """Read, linearizably."""
        return await _unknown(
            local_call.call(self._services.range, self._caller, request, pb.RangeResponse)
        )

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """Run a transaction."""
        return await _unknown(
            local_call.call(self._services.txn, self._caller, request, pb.TxnResponse)
        )

    async def delete(self, key: bytes) -> pb.DeleteRangeResponse:
        """Delete one key."""
        request = pb.DeleteRangeRequest(key=key)
        return await _unknown(
            local_call.call(
                self._services.delete_range, self._caller, request, pb.DeleteRangeResponse
            )
        )

    def abandon(self, key: bytes) -> None:
        """Have a key deleted without waiting: its contender is gone."""
        stream = LocalStream(self._caller)
        stream.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        request = pb.DeleteRangeRequest(key=key)
        self._services.delete_range(cast(Stream, stream), request.SerializeToString())

    def watch(self, create: pb.WatchCreateRequest) -> LocalWatch:
        """Watch a range."""
        return LocalWatch(self._services.open_watch, self._caller, create)

    async def session(self, lease: int) -> int:
        """Return the lease to use: the caller's, or a new one of a minute."""
        if lease:
            return lease
        request = pb.LeaseGrantRequest(TTL=SESSION_TTL_S)
        return (await _unknown(self._lease.grant(request, self._caller))).ID

    async def claim(self, name: bytes, lease: int, value: bytes) -> Claim:
        """Create the contender's key, or find the one that it has already."""
        key = prefix_of(name) + b"%x" % lease
        owner = pb.RequestOp(request_range=first_of(name))
        put = pb.PutRequest(key=key, value=value, lease=lease)
        response = await self.txn(
            pb.TxnRequest(
                compare=[pb.Compare(key=key, target=pb.Compare.CREATE, create_revision=0)],
                success=[pb.RequestOp(request_put=put), owner],
                failure=[pb.RequestOp(request_range=pb.RangeRequest(key=key)), owner],
            )
        )
        revision, found = response.header.revision, value
        if not response.succeeded:
            (mine,) = response.responses[0].response_range.kvs
            revision, found = mine.create_revision, mine.value
        owners = response.responses[1].response_range.kvs
        owner_revision = owners[0].create_revision if owners else revision
        return Claim(key, revision, lease, found, owner_revision, response.header)

    async def wait_for_turn(self, name: bytes, claim: Claim) -> pb.ResponseHeader:
        """Return once no key of the name is older than the claim's, with what then is current."""
        prefix = prefix_of(name)
        request = pb.RangeRequest(
            key=prefix,
            range_end=end_of(prefix),
            sort_target=pb.RangeRequest.CREATE,
            sort_order=pb.RangeRequest.DESCEND,
            limit=1,
            max_create_revision=claim.revision - 1,
        )
        while True:
            response = await self.range(request)
            if not response.kvs:
                return response.header
            await self._wait_for_deletion(response.kvs[0].key, response.header.revision + 1)

    async def _wait_for_deletion(self, key: bytes, revision: int) -> None:
        create = pb.WatchCreateRequest(key=key, start_revision=revision)
        async with self.watch(create) as events:
            async for response in events:
                if response.canceled and not response.compact_revision:
                    raise RpcError(GrpcStatus.UNKNOWN, response.cancel_reason)
                if response.canceled or any(
                    event.type == kv_pb2.Event.DELETE for event in response.events
                ):
                    return  # or compacted: the caller looks again


async def _unknown(answer: Awaitable[Answer]) -> Answer:
    """Pass an answer on, and a refusal as etcd's services do: its text, under UNKNOWN."""
    try:
        return await answer
    except (RpcError, StoreError) as error:
        raise RpcError(GrpcStatus.UNKNOWN, error.text) from error
