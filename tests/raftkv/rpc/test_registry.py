"""Coroutine services through a real client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest

from raftkv._native.http2 import MethodTable, Server, Stream
from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import rpc_pb2
from raftkv.rpc.http1 import Http1Protocol, HttpRoutes
from raftkv.rpc.registry import Call, ServiceRegistry, unimplemented

KeepAlive = Call[rpc_pb2.LeaseKeepAliveRequest, rpc_pb2.LeaseKeepAliveResponse]


@dataclass
class Running:
    """A front end with the services below."""

    target: str
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


@contextlib.asynccontextmanager
async def running(calls_max: int = 100) -> AsyncIterator[Running]:
    state = Running("")

    async def grant(
        request: rpc_pb2.LeaseGrantRequest, stream: Stream
    ) -> rpc_pb2.LeaseGrantResponse:
        match request.TTL:
            case 1:
                raise StoreError(ErrorCode.LEASE_EXIST)
            case 2:
                state.waiting.set()
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    state.cancelled.set()
                    raise
            case 3:
                raise ZeroDivisionError
        return rpc_pb2.LeaseGrantResponse(ID=request.ID, TTL=request.TTL)

    async def keep_alive(call: KeepAlive) -> None:
        async for request in call:
            await call.send(rpc_pb2.LeaseKeepAliveResponse(ID=request.ID, TTL=5))

    methods = MethodTable()
    registry = ServiceRegistry(methods, calls_max)
    registry.unary("/etcdserverpb.Lease/LeaseGrant", rpc_pb2.LeaseGrantRequest, grant)
    registry.streaming(
        "/etcdserverpb.Lease/LeaseKeepAlive", rpc_pb2.LeaseKeepAliveRequest, keep_alive
    )
    unimplemented(methods, "/etcdserverpb.Maintenance/Snapshot", "snapshots are not built yet")
    server = Server(methods, lambda: Http1Protocol(HttpRoutes()))
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server.protocol_factory, "127.0.0.1", 0)
    state.target = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield state
    finally:
        listener.close()
        server.close()
        await registry.close()


def grant_call(channel: grpc.aio.Channel, ttl: int, timeout: float | None = 5.0) -> object:
    return channel.unary_unary(
        "/etcdserverpb.Lease/LeaseGrant",
        request_serializer=rpc_pb2.LeaseGrantRequest.SerializeToString,
        response_deserializer=rpc_pb2.LeaseGrantResponse.FromString,
    )(rpc_pb2.LeaseGrantRequest(ID=7, TTL=ttl), timeout=timeout)


async def test_a_coroutine_answers_and_its_errors_become_statuses() -> None:
    async with running() as state, grpc.aio.insecure_channel(state.target) as channel:
        assert (await grant_call(channel, 60)).ID == 7  # type: ignore[misc]
        for ttl, code, text in (
            (1, grpc.StatusCode.FAILED_PRECONDITION, "etcdserver: lease already exists"),
            (3, grpc.StatusCode.INTERNAL, "internal error"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await grant_call(channel, ttl)  # type: ignore[misc]
            assert (caught.value.code(), caught.value.details()) == (code, text)


async def test_a_message_that_is_no_protobuf_is_internal() -> None:
    async with running() as state, grpc.aio.insecure_channel(state.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/etcdserverpb.Lease/LeaseGrant")(b"\xff\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "error unmarshalling request" in (caught.value.details() or "")


async def test_the_deadline_of_a_client_cancels_its_coroutine() -> None:
    async with running() as state, grpc.aio.insecure_channel(state.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await grant_call(channel, 2, timeout=0.05)  # type: ignore[misc]
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await state.cancelled.wait()


async def test_calls_beyond_the_bound_are_refused() -> None:
    async with running(calls_max=1) as state, grpc.aio.insecure_channel(state.target) as channel:
        waiting = asyncio.ensure_future(grant_call(channel, 2, timeout=30))  # type: ignore[call-overload]
        await state.waiting.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await grant_call(channel, 60)  # type: ignore[misc]
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        waiting.cancel()


async def test_a_streaming_coroutine_lives_as_long_as_its_call() -> None:
    async with running() as state, grpc.aio.insecure_channel(state.target) as channel:
        call = channel.stream_stream(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            request_serializer=rpc_pb2.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=rpc_pb2.LeaseKeepAliveResponse.FromString,
        )()
        for i in range(20):
            await call.write(rpc_pb2.LeaseKeepAliveRequest(ID=i))
            answer = await call.read()
            assert i == answer.ID
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_what_is_not_built_is_refused_by_name() -> None:
    async with running() as state, grpc.aio.insecure_channel(state.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/etcdserverpb.Maintenance/Snapshot")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert caught.value.details() == "snapshots are not built yet"
