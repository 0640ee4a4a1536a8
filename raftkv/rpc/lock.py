"""v3lockpb.Lock: mutual exclusion by name, for clients without a client library."""

import asyncio

from raftkv._native.http2 import Stream
from raftkv.errors import GrpcStatus
from raftkv.pb.etcd import lock_pb2 as pb
from raftkv.pb.etcd.rpc_pb2 import RangeRequest, ResponseHeader
from raftkv.rpc.grpc_status import RpcError
from raftkv.rpc.lease import LeaseService
from raftkv.rpc.local_call import LocalServices
from raftkv.rpc.ownership import Claim, Keys
from raftkv.rpc.registry import ServiceRegistry

__all__ = ["LockService"]

SESSION_EXPIRED = "mutex: session is expired"


class LockService:
    """Lock waits until the name is the caller's: as long as its lease and its key last."""

    def __init__(self, services: LocalServices, lease: LeaseService) -> None:
        self._services = (services, lease)

    def register(self, registry: ServiceRegistry) -> None:
        """Add the methods of the service."""
        registry.unary("/v3lockpb.Lock/Lock", pb.LockRequest, self.lock)
        registry.unary("/v3lockpb.Lock/Unlock", pb.UnlockRequest, self.unlock)

    async def lock(self, request: pb.LockRequest, stream: Stream) -> pb.LockResponse:
        """Own the name; a caller that goes away before it does leaves no key behind."""
        keys = Keys(*self._services, stream)
        lease = await keys.session(request.lease)
        claim = await keys.claim(request.name, lease, b"")
        header = claim.header
        if not claim.owns:
            header = await self._wait(keys, request.name, claim)
        return pb.LockResponse(header=header, key=claim.key)

    async def _wait(self, keys: Keys, name: bytes, claim: Claim) -> ResponseHeader:
        try:
            await keys.wait_for_turn(name, claim)
            found = await keys.range(RangeRequest(key=claim.key))
        except (asyncio.CancelledError, RpcError):
            keys.abandon(claim.key)
            raise
        if not found.kvs:
            raise RpcError(GrpcStatus.UNKNOWN, SESSION_EXPIRED)
        return found.header

    async def unlock(self, request: pb.UnlockRequest, stream: Stream) -> pb.UnlockResponse:
        """Give a lock back by its key; it is no error when nobody holds it."""
        response = await Keys(*self._services, stream).delete(request.key)
        return pb.UnlockResponse(header=response.header)
