"""Lease.LeaseKeepAlive: one stream renews many leases, all that wait at the cost of one.

A client with ten thousand leases sends as many requests at once. They are answered in order, but
renewed together: whatever has arrived while the last ones were renewed goes next.
"""

import asyncio

from google.protobuf.message import DecodeError

from raftkv._native.http2 import Stream
from raftkv.errors import GrpcStatus
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.grpc_status import status_of
from raftkv.rpc.registry import ServiceRegistry
from raftkv.server.member import Member

__all__ = ["KeepAliveCall"]

WAITING_MAX = 100_000
"""Requests of one stream that may wait; one more ends it."""

TOGETHER_MAX = 10_000
"""Leases that are renewed at once."""


class KeepAliveCall:
    """One stream of renewals; an unknown lease is answered with TTL 0."""

    def __init__(self, stream: Stream, member: Member, registry: ServiceRegistry) -> None:
        self._stream = stream
        self._member = member
        self._registry = registry
        self._waiting: list[int] = []
        self._task: asyncio.Task[None] | None = None
        self._is_half_closed = False

    # StreamHandler

    def on_message(self, message: bytes) -> None:
        """Take one request."""
        try:
            self._waiting.append(pb.LeaseKeepAliveRequest.FromString(message).ID)
        except DecodeError as error:
            self._stream.finish(*status_of(error))
            return
        if len(self._waiting) > WAITING_MAX:
            self._stream.finish(int(GrpcStatus.RESOURCE_EXHAUSTED), "too many requests waiting")
            return
        if self._task is None:
            self._task = self._registry.start(self._stream, self._renew())

    def on_half_close(self) -> None:
        """End when everything is answered."""
        self._is_half_closed = True
        if self._task is None:
            self._stream.finish()

    def on_closed(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _renew(self) -> None:
        """Renew and answer until nothing waits. Raises StoreError, which ends the stream."""
        while self._waiting:
            lease_ids = self._waiting[:TOGETHER_MAX]
            del self._waiting[:TOGETHER_MAX]
            renewed = await self._member.leases.renew_all(lease_ids)
            response = pb.LeaseKeepAliveResponse(header=self._member.header())
            for lease_id, ttl_s in zip(lease_ids, renewed, strict=True):
                response.ID, response.TTL = lease_id, ttl_s
                self._stream.send(response.SerializeToString())
            await self._drained()
        self._task = None
        if self._is_half_closed:
            self._stream.finish()

    async def _drained(self) -> None:
        """Wait until a client that reads slowly has taken most of its answers."""
        if self._stream.drain_pending:
            drained = asyncio.Event()
            self._stream.on_drained = drained.set
            if self._stream.drain_pending:
                await drained.wait()
