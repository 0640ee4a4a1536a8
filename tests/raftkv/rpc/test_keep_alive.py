"""One stream keeps thousands of leases alive, faster than they end."""

import asyncio
import time

import grpc
import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.rpc.test_services import call

COUNT = 3000
TTL_S = 100


@pytest.mark.slow
async def test_thousands_of_leases_on_one_stream(channel: grpc.aio.Channel) -> None:
    """They are answered in order, unknown ones in between with TTL 0."""

    async def grant(lease: int) -> None:
        request = pb.LeaseGrantRequest(ID=lease, TTL=TTL_S)
        await call(channel, "Lease/LeaseGrant", request, pb.LeaseGrantResponse)

    first = 1_000_000
    await asyncio.gather(*(grant(first + number) for number in range(COUNT)))
    stream = channel.stream_stream(
        "/etcdserverpb.Lease/LeaseKeepAlive",
        request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
        response_deserializer=pb.LeaseKeepAliveResponse.FromString,
    )()

    async def send() -> None:
        for number in range(COUNT + 1):
            await stream.write(pb.LeaseKeepAliveRequest(ID=first + number))

    for _ in range(2):
        began = time.monotonic()
        sending = asyncio.create_task(send())
        answers = [await stream.read() for _ in range(COUNT + 1)]
        await sending
        assert [one.ID for one in answers] == list(range(first, first + COUNT + 1))
        assert [one.TTL for one in answers] == [TTL_S] * COUNT + [0]
        assert time.monotonic() - began < 20, "a client must renew all within the shortest TTL"
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


async def test_requests_that_cannot_be_read_end_the_stream(channel: grpc.aio.Channel) -> None:
    stream = channel.stream_stream("/etcdserverpb.Lease/LeaseKeepAlive")()
    await stream.write(b"\x08")
    assert await stream.code() is grpc.StatusCode.INTERNAL


async def test_many_streams_share_rounds_and_each_keeps_its_order(
    channel: grpc.aio.Channel,
) -> None:
    """Whatever is asked together, each stream hears of its own leases, in its order."""
    first, streams, each = 2_000_000, 20, 5
    request = pb.LeaseGrantRequest(ID=first, TTL=TTL_S)
    await call(channel, "Lease/LeaseGrant", request, pb.LeaseGrantResponse)

    async def renew(number: int) -> list[tuple[int, int]]:
        stream = channel.stream_stream(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=pb.LeaseKeepAliveResponse.FromString,
        )()
        for one in range(each):
            await stream.write(pb.LeaseKeepAliveRequest(ID=first + one * (number + 1)))
        await stream.done_writing()
        answers = [(one.ID, one.TTL) async for one in stream]
        assert await stream.code() is grpc.StatusCode.OK
        return answers

    answers = await asyncio.gather(*(renew(number) for number in range(streams)))
    for number, told in enumerate(answers):
        wanted = [(first, TTL_S)] + [(first + one * (number + 1), 0) for one in range(1, each)]
        assert told == wanted


async def test_a_deadline_ends_a_stream_that_is_served(channel: grpc.aio.Channel) -> None:
    stream = channel.stream_stream("/etcdserverpb.Lease/LeaseKeepAlive")(timeout=0.2)
    await stream.write(pb.LeaseKeepAliveRequest(ID=1).SerializeToString())
    assert pb.LeaseKeepAliveResponse.FromString(await stream.read()).TTL == 0
    assert await stream.code() is grpc.StatusCode.DEADLINE_EXCEEDED
