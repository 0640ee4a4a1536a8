"""Large puts become batches without a copy, and are what a plain put would have been."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from raftkv._native.command_batch import read_commands
from raftkv._native.http2 import MethodTable, Server, Stream
from raftkv._native.padded_message import PaddedMessage
from raftkv._native.put_path import PutPath
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.raft.configuration import Configuration
from raftkv.rate_limit import RateLimit, RateLimitConfig
from raftkv.rpc.auth_gate import AuthGate, GuardedMethodTable
from raftkv.rpc.http1 import Http1Protocol, HttpRoutes
from raftkv.rpc.kv import KvService
from raftkv.server.quota import Quota
from tests.raftkv.rpc.test_kv_paths import SERVICE, LoneMember

REQUEST_BYTES_MAX = 3 << 19
MIB = 1 << 20


def noise(size: int) -> bytes:
    return hashlib.shake_128(b"%d" % size).digest(size)


def put_of(key: bytes, size: int) -> bytes:
    return pb.PutRequest(key=key, value=noise(size)).SerializeToString()


@dataclass
class Front:
    """A lone member that clients can reach, with what it proposed and what went the slow way."""

    member: LoneMember
    service: KvService
    channel: grpc.aio.Channel
    batches: list[bytes]
    slow: list[bytes]

    async def put(self, request: bytes) -> bytes:
        answer = await self.channel.unary_unary(SERVICE + "Put")(request, timeout=10)
        assert isinstance(answer, bytes)
        return answer

    async def value(self, key: bytes) -> bytes:
        answer = await self.channel.unary_unary(SERVICE + "Range")(
            pb.RangeRequest(key=key).SerializeToString()
        )
        (found,) = pb.RangeResponse.FromString(answer).kvs
        return found.value

    @property
    def quick_count(self) -> int:
        assert self.service._put_path is not None
        return self.service._put_path.count


def watch_ways(front: Front) -> None:
    """Have proposed batches and slow puts noted."""
    path, proposals = front.service._put_path, front.member.proposals
    assert path is not None
    slow_handle, flush = path.slow_handle, proposals.flush

    def note_slow(stream: Stream, message: bytes) -> object:
        front.slow.append(message)
        return slow_handle(stream, message)

    def note_flush(term: int, now: float, propose: Any) -> None:
        def note(batch: Any) -> Any:
            front.batches.append(batch.data)
            return propose(batch)

        flush(term, now, note)

    path.slow_handle = note_slow
    cast(Any, proposals).flush = note_flush


@contextlib.asynccontextmanager
async def serving(methods: MethodTable | None = None, quota_bytes: int = 0) -> AsyncIterator[Front]:
    with tempfile.TemporaryDirectory() as directory:
        member = LoneMember(directory)
        member.config.request_bytes_max = REQUEST_BYTES_MAX
        member.quota = Quota(quota_bytes, member.store, member.cluster.alarms, lambda: None)
        service = KvService(cast(Any, member))
        methods = methods or MethodTable()
        member.server = Server(methods, lambda: Http1Protocol(HttpRoutes()))
        listener = await asyncio.get_running_loop().create_server(
            member.server.protocol_factory, "127.0.0.1", 0
        )
        target = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        options = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            front = Front(member, service, channel, [], [])
            watch_ways(front)
            service.register(methods)
            try:
                yield front
            finally:
                listener.close()
                member.server.close()
                await listener.wait_closed()
                member.store.close()


@pytest.mark.parametrize("size", [32_000, 33_000, 65_536, 70_000, MIB, REQUEST_BYTES_MAX - 20])
async def test_a_large_put_is_stored_byte_for_byte(size: int) -> None:
    request = put_of(b"key", size)
    async with serving() as front:
        await front.put(request)
        assert await front.value(b"key") == noise(size)
        assert [read_commands(batch) for batch in front.batches] == [[(1, request)]]
        assert (front.quick_count, front.slow) == (1, [])


async def test_large_puts_beside_small_ones_are_stored_byte_for_byte() -> None:
    sizes = {b"%d" % i: (MIB, 100, 40_000)[i % 3] + i for i in range(45)}
    async with serving() as front:
        await asyncio.gather(*(front.put(put_of(key, size)) for key, size in sizes.items()))
        for key, size in sizes.items():
            assert await front.value(key) == noise(size)
        assert (front.quick_count, front.slow) == (45, [])
        commands = [read_commands(batch) for batch in front.batches]
        assert sum(map(len, commands)) == 45
        for batch in commands:
            fills = [len(payload) > MIB for _, payload in batch]
            assert not any(fills) or fills == [True], "what fills a batch has one of its own"


@pytest.mark.parametrize("before", [None, b"small"])
async def test_a_put_that_fills_a_batch_leaves_the_one_before_alone(before: bytes | None) -> None:
    """Asked for in one turn: both are proposed, in order."""
    async with serving() as front:
        if before is not None:
            front.member.proposals.gathering.add(1, put_of(before, 10), cast(Any, _Nobody()))
        await front.put(put_of(b"large", MIB))
        found = [[payload for _, payload in read_commands(batch)] for batch in front.batches]
        small = [] if before is None else [[put_of(before, 10)]]
        assert found == [*small, [put_of(b"large", MIB)]]


class _Nobody:
    def reply(self, message: bytes) -> bool:
        return True


def change(member: LoneMember, state: str) -> None:
    """Bring a member into a state in which the short way is closed."""
    match state:
        case "learner":
            member.node.configuration = Configuration(frozenset({1}), learners=frozenset({7}))
        case "no leader":
            member.node.leader_id = 0
        case "corrupt":
            member.cluster.alarms.is_corrupt = True
        case "users":
            member.auth.stamp = b"1"
        case "no space":
            member.cluster.alarms.is_out_of_space = True


@pytest.mark.parametrize(
    ("state", "is_refused"),
    [
        ("learner", True),
        ("no leader", False),  # it waits for one
        ("corrupt", True),
        ("users", False),  # the twin leaves them to a gate, which is not here
        ("no space", True),
        ("little quota", True),
    ],
)
async def test_what_is_to_be_looked_at_goes_the_slow_way(state: str, is_refused: bool) -> None:
    request = put_of(b"key", MIB)
    async with serving(quota_bytes=MIB if state == "little quota" else 0) as front:
        change(front.member, state)
        try:
            await front.put(request)
            assert not is_refused
        except grpc.aio.AioRpcError:
            assert is_refused
        assert (front.quick_count, front.slow) == (0, [request])


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (put_of(b"", 40_000), "etcdserver: key is not provided"),
        (put_of(b"key", REQUEST_BYTES_MAX), "etcdserver: request is too large"),
        (b"\xff" * 40_000, None),
    ],
)
async def test_a_bad_large_put_is_refused_by_the_twin(request_: bytes, text: str | None) -> None:
    async with serving() as front:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await front.put(request_)
        assert text is None or caught.value.details() == text
        assert front.slow == [request_]
        assert front.batches == []


async def test_a_way_that_shuts_while_a_large_put_arrives_is_not_taken() -> None:
    """Room was made for the batch's head, but there are users when the message is complete."""
    request = put_of(b"key", MIB)
    rooms: list[int] = []
    async with serving() as front:
        server = front.member.server
        assert server is not None
        path = cast(PutPath, front.service._put_path)

        class Shutting:
            def headroom(self, size: int) -> int:
                return path.headroom(size)

            def on_large(self, stream: Stream, message: PaddedMessage) -> None:
                rooms.append(message.headroom)
                front.member.auth.stamp = b"1"
                path.on_large(stream, message)

        server.methods.unary(b"/test.Test/Put", path, Shutting())
        await front.channel.unary_unary("/test.Test/Put")(request)
        assert rooms == [25]
        assert (front.quick_count, front.slow) == (0, [request])
        assert path.headroom(len(request)) == 0


@pytest.mark.parametrize("is_limited", [False, True])
async def test_a_guard_before_the_short_way_sees_large_puts(is_limited: bool) -> None:
    limits = RateLimitConfig(RateLimit(1.0, 1) if is_limited else None, {})
    auth = SimpleNamespace(stamp=None, store=None)
    config = SimpleNamespace(rate_limits=limits)
    member = SimpleNamespace(auth=auth, store=None, config=config)
    gate = AuthGate(cast(Any, member), cast(Any, SimpleNamespace(name_of=lambda _: "")))
    methods = GuardedMethodTable(gate)
    async with serving(methods) as front:
        method = methods.find(f"{SERVICE}Put".encode())
        assert method is not None
        assert (method.large_handler is None) == is_limited
        if not is_limited:
            await front.put(put_of(b"key", MIB))
            assert await front.value(b"key") == noise(MIB)
