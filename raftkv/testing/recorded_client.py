"""One client of one member at a time, that writes down what it asks and what it learns."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from raftkv.client import Client, ClientError, UnavailableError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.history import Operation, Outcome

__all__ = ["RecordedClient"]

Response = TypeVar("Response", bound=Message)

CERTAIN = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Statuses by which a server says that it did not do it. After any other it may have, or will."""


class RecordedClient:
    """Its operations, in `operations`, are one after the other. Times are monotonic seconds."""

    def __init__(self, number: int, endpoints: Sequence[str], timeout_s: float) -> None:
        self.number = number
        self.at = number % len(endpoints)
        """The member that is asked now."""
        self.operations: list[Operation] = []
        self._clients = [Client([endpoint], timeout_s=timeout_s) for endpoint in endpoints]

    @property
    def client(self) -> Client:
        """The client of the member that is asked now."""
        return self._clients[self.at]

    def move(self) -> None:
        """Ask the next member from now on."""
        self.at = (self.at + 1) % len(self._clients)

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients:
            await client.close()

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse | None:
        """Read; None where that failed, here and below."""
        return await self._record("range", request, self.client.range(request))

    async def put(self, request: pb.PutRequest) -> pb.PutResponse | None:
        """Write one key."""
        call = self.client.put(
            request.key, request.value, lease=request.lease, prev_kv=request.prev_kv
        )
        return await self._record("put", request, call)

    async def delete(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeResponse | None:
        """Delete one key or a range."""
        call = self.client.delete(request.key, request.range_end, prev_kv=request.prev_kv)
        return await self._record("delete_range", request, call)

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse | None:
        """Compare and act."""
        return await self._record("txn", request, self.client.txn(request))

    async def compact(self, revision: int) -> pb.CompactionResponse | None:
        """Forget what is older than a revision."""
        request = pb.CompactionRequest(revision=revision)
        return await self._record("compact", request, self.client.compact(revision))

    async def grant(self, ttl_s: int) -> pb.LeaseGrantResponse | None:
        """Make a lease."""
        request = pb.LeaseGrantRequest(TTL=ttl_s)
        return await self._record("lease_grant", request, self.client.lease_grant(ttl_s))

    async def keep_alive(self, lease_id: int) -> pb.LeaseKeepAliveResponse | None:
        """Renew a lease once."""
        request = pb.LeaseKeepAliveRequest(ID=lease_id)
        call = self.client.lease_keep_alive_once(lease_id)
        return await self._record("lease_keep_alive", request, call)

    async def revoke(self, lease_id: int) -> pb.LeaseRevokeResponse | None:
        """End a lease."""
        request = pb.LeaseRevokeRequest(ID=lease_id)
        return await self._record("lease_revoke", request, self.client.lease_revoke(lease_id))

    async def _record(
        self, kind: str, request: Message, call: Awaitable[Response]
    ) -> Response | None:
        operation = Operation(self.number, kind, request, time.monotonic(), endpoint=self.at)
        self.operations.append(operation)
        try:
            response = await call
        except ClientError as error:
            operation.error = str(error)
            unsent = isinstance(error, UnavailableError) and error.unsent
            if unsent or error.code in CERTAIN:
                operation.outcome = Outcome.FAILED
                operation.returned = time.monotonic()
            return None
        operation.returned = time.monotonic()
        operation.output = response
        operation.outcome = Outcome.OK
        return response
