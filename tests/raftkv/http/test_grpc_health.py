"""grpc.health.v1 by grpcio: SERVING only where this member does serve."""

import asyncio
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest

from raftkv.pb.etcd import health_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster

Response: TypeAlias = pb.HealthCheckResponse


async def check(channel: grpc.aio.Channel, service: str = "") -> int:
    call = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=pb.HealthCheckRequest.SerializeToString,
        response_deserializer=Response.FromString,
    )
    response: Response = await call(pb.HealthCheckRequest(service=service), timeout=5)
    return response.status


def watch(
    channel: grpc.aio.Channel, service: str = ""
) -> grpc.aio.UnaryStreamCall[pb.HealthCheckRequest, Response]:
    call = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=pb.HealthCheckRequest.SerializeToString,
        response_deserializer=Response.FromString,
    )
    return call(pb.HealthCheckRequest(service=service))


async def test_the_whole_server_serves_and_nothing_else_is_known(served: ProcessCluster) -> None:
    async with grpc.aio.insecure_channel(served.endpoints[0]) as channel:
        assert await check(channel) == Response.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel, "etcdserverpb.KV")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "unknown service"
        for service, status in (("", Response.SERVING), ("other", Response.SERVICE_UNKNOWN)):
            stream = watch(channel, service)
            assert (await asyncio.wait_for(stream.read(), 5)).status == status
            stream.cancel()


async def test_a_member_that_lost_its_quorum_says_so(tmp_path: Path) -> None:
    with ProcessCluster(2, tmp_path) as cluster:
        cluster.wait_ready()
        async with grpc.aio.insecure_channel(cluster.endpoints[0]) as channel:
            stream = watch(channel)
            assert (await asyncio.wait_for(stream.read(), 5)).status == Response.SERVING
            cluster.kill(1)
            assert (await asyncio.wait_for(stream.read(), 10)).status == Response.NOT_SERVING
            assert await check(channel) == Response.NOT_SERVING
            cluster.start(1)
            assert (await asyncio.wait_for(stream.read(), 10)).status == Response.SERVING
            stream.cancel()
