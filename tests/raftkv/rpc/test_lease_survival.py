"""Leases keep the time that they have left when another member leads, and when all restart."""

import asyncio
import time
from pathlib import Path

import grpc
import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster

pytestmark = pytest.mark.slow

FLAGS = ["--heartbeat-interval=20", "--election-timeout=200"]
ELECTION_S = 0.2
SLACK_S = 1.5


async def ask(endpoint: str, method: str, request: object, answer: type) -> object:
    """Call one method, again while nobody leads."""
    deadline = time.monotonic() + 15
    async with grpc.aio.insecure_channel(endpoint) as channel:
        call = channel.unary_unary(
            f"/etcdserverpb.Lease/{method}",
            request_serializer=type(request).SerializeToString,  # type: ignore[attr-defined]
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]
        )
        while True:
            try:
                return await call(request, timeout=3)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.05)


async def grant(endpoint: str, lease: int, ttl_s: int) -> None:
    request = pb.LeaseGrantRequest(ID=lease, TTL=ttl_s)
    await ask(endpoint, "LeaseGrant", request, pb.LeaseGrantResponse)


async def left_s(endpoint: str, lease: int) -> int:
    request = pb.LeaseTimeToLiveRequest(ID=lease)
    told = await ask(endpoint, "LeaseTimeToLive", request, pb.LeaseTimeToLiveResponse)
    assert isinstance(told, pb.LeaseTimeToLiveResponse)
    return told.TTL


async def keep_alive(endpoint: str, lease: int) -> int:
    async with grpc.aio.insecure_channel(endpoint) as channel:
        stream = channel.stream_stream(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=pb.LeaseKeepAliveResponse.FromString,
        )()
        await stream.write(pb.LeaseKeepAliveRequest(ID=lease))
        answer = await stream.read()
        stream.cancel()
        assert isinstance(answer, pb.LeaseKeepAliveResponse)
        return answer.TTL


async def test_the_time_left_survives_its_leader(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, FLAGS) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        leader = await asyncio.to_thread(cluster.leader)
        other = cluster.endpoints[(leader + 1) % 3]
        begin = time.monotonic()
        await grant(other, 1, 60)  # never renewed
        await grant(other, 2, 60)  # renewed in time
        await grant(other, 3, 4)  # renewed once, then settled after half its TTL
        assert await keep_alive(other, 3) == 4
        renewed = time.monotonic()
        await asyncio.sleep(3)
        assert await keep_alive(other, 2) == 60
        cluster.kill(leader)
        left = {lease: await left_s(other, lease) for lease in (1, 2, 3)}
        passed, since_renewal = time.monotonic() - begin, time.monotonic() - renewed
        assert 60 - passed - 1 <= left[1] <= 60 - passed + ELECTION_S + SLACK_S
        assert left[1] < 59
        assert 58 <= left[2] <= 61
        assert left[3] <= 4 - since_renewal + ELECTION_S + SLACK_S
        assert await keep_alive(other, 1) == 60


async def test_the_time_left_survives_a_restart_of_all(tmp_path: Path) -> None:
    """A lease that was settled goes on where that was written down, not with its full TTL."""
    with ProcessCluster(1, tmp_path, FLAGS) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        await grant(cluster.endpoints[0], 1, 8)
        assert await keep_alive(cluster.endpoints[0], 1) == 8
        await grant(cluster.endpoints[0], 2, 8)
        await asyncio.sleep(5)  # half of the TTL and a round: settled
        assert cluster.terminate(0) == 0
        cluster.start(0)
        await asyncio.to_thread(cluster.wait_ready)
        assert await left_s(cluster.endpoints[0], 1) <= 5
        assert await left_s(cluster.endpoints[0], 2) >= 6, "was not written down yet: its full TTL"
