"""Reading a range piece by piece, however large it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import grpc

from raftkv.client.endpoints import Endpoints
from raftkv.client.errors import from_rpc_error
from raftkv.pb.etcd import rpc_pb2 as pb

__all__ = ["range_stream"]


async def range_stream(
    endpoints: Endpoints, request: pb.RangeRequest
) -> AsyncGenerator[pb.RangeResponse, None]:
    """Yield the keys in order, all of one revision; the last answer has header, count and more.

    Leaving the iteration ends the call. Raises ClientError, UNIMPLEMENTED by servers before 3.7.
    """
    await endpoints.tokens.ready()
    _, channel = endpoints.channel()
    call = channel.unary_stream(
        "/etcdserverpb.KV/RangeStream",
        request_serializer=pb.RangeRequest.SerializeToString,
        response_deserializer=pb.RangeStreamResponse.FromString,
    )(request, metadata=endpoints.tokens.metadata)
    try:
        async for response in call:
            yield response.range_response
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        call.cancel()
