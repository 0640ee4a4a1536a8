"""Streaming a member's state, for backups."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import grpc

from raftkv.client.endpoints import Endpoints
from raftkv.client.errors import from_rpc_error
from raftkv.pb.etcd import rpc_pb2 as pb

__all__ = ["snapshot_stream"]


async def snapshot_stream(
    endpoints: Endpoints, timeout_s: float | None
) -> AsyncGenerator[pb.SnapshotResponse, None]:
    """Yield the pieces of one member's database, in order; the last is the SHA-256 of the others.

    `timeout_s` bounds it all. Leaving the iteration ends the call. Raises ClientError.
    """
    await endpoints.tokens.ready()
    _, channel = endpoints.channel()
    call = channel.unary_stream(
        "/etcdserverpb.Maintenance/Snapshot",
        request_serializer=pb.SnapshotRequest.SerializeToString,
        response_deserializer=pb.SnapshotResponse.FromString,
    )(pb.SnapshotRequest(), timeout=timeout_s, metadata=endpoints.tokens.metadata)
    try:
        async for response in call:
            yield response
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        call.cancel()
