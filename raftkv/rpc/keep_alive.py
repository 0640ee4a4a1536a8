"""Lease.LeaseKeepAlive: all that arrives in one turn of the loop, on whichever streams, is renewed
at the cost of one.

A *round* takes what waits of every stream that is in no other round, so the answers of a stream
keep the order of its requests, and a client that reads slowly holds up nobody but itself.
"""

from __future__ import annotations

import asyncio

from google.protobuf.message import DecodeError

from raftkv._native.http2 import Stream
from raftkv.errors import GrpcStatus
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.grpc_status import status_of
from raftkv.rpc.registry import ServiceRegistry
from raftkv.server.member import Member

__all__ = ["KeepAliveCall", "KeepAlives"]

WAITING_MAX = 100_000
"""Requests of one stream that may wait; one more ends it."""

TOGETHER_MAX = 10_000
"""Leases that are renewed at once."""

ROUNDS_MAX = 4
"""Rounds under way; what arrives meanwhile goes together with the next."""


class KeepAlives:
    """The renewals of one member."""

    def __init__(self, member: Member, registry: ServiceRegistry) -> None:
        self._member = member
        self._registry = registry
        self._ready: list[KeepAliveCall] = []
        """Calls that have something waiting and are in no round."""
        self._rounds = 0
        self._is_scheduled = False

    def open(self, stream: Stream) -> KeepAliveCall:
        """Serve one stream of renewals."""
        return KeepAliveCall(stream, self)

    def add(self, call: KeepAliveCall) -> None:
        """Have what waits at a call renewed with all else of this turn."""
        self._ready.append(call)
        if not self._is_scheduled and self._rounds < ROUNDS_MAX:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Begin rounds with all that is ready."""
        self._is_scheduled = False
        while self._ready and self._rounds < ROUNDS_MAX:
            left, place = TOGETHER_MAX, 0
            parts: list[tuple[KeepAliveCall, list[int]]] = []
            while place < len(self._ready) and left > 0:
                call = self._ready[place]
                place += 1
                lease_ids = call.take(left)
                if lease_ids:
                    left -= len(lease_ids)
                    parts.append((call, lease_ids))
            del self._ready[:place]
            if parts:
                self._rounds += 1
                self._registry.track(self._renew(parts))

    async def _renew(self, parts: list[tuple[KeepAliveCall, list[int]]]) -> None:
        """Renew and answer; a failure ends the streams that asked."""
        try:
            renewed = iter(
                await self._member.leases.renew_all([one for _, ids in parts for one in ids])
            )
            response = pb.LeaseKeepAliveResponse(header=self._member.header())
            for call, lease_ids in parts:
                for lease_id, ttl_s in zip(lease_ids, renewed, strict=False):
                    response.ID, response.TTL = lease_id, ttl_s
                    call.stream.send(response.SerializeToString())
                call.answered()
        except BaseException as error:
            status = status_of(error)
            for call, _ in parts:
                call.stream.finish(*status)
            if not isinstance(error, Exception):
                raise
        finally:
            self._rounds -= 1
        self._begin()


class KeepAliveCall:
    """One stream of renewals; an unknown lease is answered with TTL 0."""

    def __init__(self, stream: Stream, together: KeepAlives) -> None:
        self.stream = stream
        self._together = together
        self._waiting: list[int] = []
        self._is_busy = False
        """Among the ready, in a round, or waiting for its client to read."""
        self._is_half_closed = False
        self._deadline: asyncio.TimerHandle | None = None
        if stream.deadline_s is not None:
            self._deadline = asyncio.get_running_loop().call_later(
                stream.deadline_s, stream.finish, *status_of(TimeoutError())
            )

    def take(self, count_max: int) -> list[int]:
        """Hand out the leases that are to be renewed next, the oldest requests first."""
        lease_ids = self._waiting[:count_max]
        del self._waiting[:count_max]
        return lease_ids

    def answered(self) -> None:
        """Go on with what arrived meanwhile, once the client has taken most of its answers."""
        if self.stream.drain_pending:
            self.stream.on_drained = self._go_on
        else:
            self._go_on()

    def _go_on(self) -> None:
        self.stream.on_drained = None
        if self._waiting:
            self._together.add(self)
            return
        self._is_busy = False
        if self._is_half_closed:
            self.stream.finish()

    # StreamHandler

    def on_message(self, message: bytes) -> None:
        """Take one request."""
        try:
            self._waiting.append(pb.LeaseKeepAliveRequest.FromString(message).ID)
        except DecodeError as error:
            self.stream.finish(*status_of(error))
            return
        if len(self._waiting) > WAITING_MAX:
            self.stream.finish(int(GrpcStatus.RESOURCE_EXHAUSTED), "too many requests waiting")
            return
        if not self._is_busy:
            self._is_busy = True
            self._together.add(self)

    def on_half_close(self) -> None:
        """End when everything is answered."""
        self._is_half_closed = True
        if not self._is_busy:
            self.stream.finish()

    def on_closed(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        if self._deadline is not None:
            self._deadline.cancel()
