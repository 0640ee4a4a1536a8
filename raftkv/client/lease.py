"""Keeping a lease alive."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TypeAlias

import grpc

from raftkv.client.endpoints import Endpoints
from raftkv.client.errors import LeaseNotFoundError, from_rpc_error
from raftkv.pb.etcd import rpc_pb2 as pb

RENEW_FRACTION = 1 / 3
"""A lease is renewed when this part of its TTL has passed, as clientv3 does."""

KeepAliveStream: TypeAlias = grpc.aio.StreamStreamCall


class LeaseKeeper:
    """Renews one lease; `run` does so until it is cancelled or the lease is gone."""

    def __init__(self, endpoints: Endpoints, lease_id: int, ttl_s: int) -> None:
        self._endpoints = endpoints
        self._lease_id = lease_id
        self._ttl_s = ttl_s
        self._at = 0
        self._stream: KeepAliveStream | None = None

    async def __aenter__(self) -> LeaseKeeper:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    async def renew(self) -> pb.LeaseKeepAliveResponse:
        """Renew once. TTL 0 in the answer means that the lease is gone."""
        try:
            await self._endpoints.tokens.ready()
            stream = self._opened()
            await stream.write(pb.LeaseKeepAliveRequest(ID=self._lease_id))
            response = await stream.read()
        except grpc.aio.AioRpcError as error:
            self._endpoints.failed(self._at)
            self._close()
            raise from_rpc_error(error) from error
        if not isinstance(response, pb.LeaseKeepAliveResponse):
            self._close()
            return await self.renew()
        return response

    async def run(self) -> None:
        """Renew at a third of the TTL until cancelled; LeaseNotFoundError when it is gone."""
        while True:
            response = await self.renew()
            if response.TTL <= 0:
                raise LeaseNotFoundError(
                    grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found"
                )
            await asyncio.sleep(max(response.TTL * RENEW_FRACTION, 0.1))

    def _opened(self) -> KeepAliveStream:
        if self._stream is None:
            self._at, channel = self._endpoints.channel()
            call = channel.stream_stream(
                "/etcdserverpb.Lease/LeaseKeepAlive",
                request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
                response_deserializer=pb.LeaseKeepAliveResponse.FromString,
            )
            self._stream = call(metadata=self._endpoints.tokens.metadata)
        return self._stream
