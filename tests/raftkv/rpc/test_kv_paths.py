"""The short ways of puts and ranges answer as the plain ones do, whatever is asked."""

from __future__ import annotations

import asyncio
import tempfile
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftkv._native.command_batch import answer
from raftkv._native.http2 import MethodTable, Server, Stream
from raftkv._native.mvcc_store import MvccStore
from raftkv.errors import ERRORS
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.raft.configuration import Configuration
from raftkv.rpc.http1 import Http1Protocol, HttpRoutes
from raftkv.rpc.kv import KvService
from raftkv.server.alarms import Alarms
from raftkv.server.proposals import Batch, Fate, Proposals
from raftkv.server.quota import Quota
from raftkv.server.reads import ReadRounds

SERVICE = "/etcdserverpb.KV/"
REQUEST_BYTES_MAX = 200
QUOTA_BYTES = 40 << 20
KEYS = st.sampled_from([b"", b"a", b"b", b"bb", b"c", b"\0"])
NUMBERS = st.sampled_from([0, 1, 2, 3, 5, -1, 1 << 40])

PUTS = st.builds(
    pb.PutRequest,
    key=KEYS,
    value=st.binary(max_size=250),
    prev_kv=st.booleans(),
    ignore_value=st.booleans(),
    lease=st.sampled_from([0, 0, 0, 9]),
)
RANGES = st.builds(
    pb.RangeRequest,
    key=KEYS,
    range_end=KEYS,
    limit=NUMBERS,
    revision=NUMBERS,
    sort_order=st.sampled_from([0, 1, 2, 7]),
    sort_target=st.sampled_from([0, 1, 4]),
    serializable=st.booleans(),
    keys_only=st.booleans(),
    count_only=st.booleans(),
)
REQUESTS = st.one_of(
    st.tuples(st.just("Put"), PUTS.map(lambda one: one.SerializeToString())),
    st.tuples(st.just("Range"), RANGES.map(lambda one: one.SerializeToString())),
    st.tuples(st.sampled_from(["Put", "Range"]), st.binary(max_size=12)),
)


class LoneMember:
    """A member that agrees with itself at once."""

    def __init__(self, directory: str) -> None:
        self.store = MvccStore(directory, cluster_id=1, member_id=7)
        self.node = SimpleNamespace(
            id=7, term=3, leader_id=7, configuration=Configuration(frozenset({7}))
        )
        self.config = SimpleNamespace(request_bytes_max=REQUEST_BYTES_MAX)
        self.auth = SimpleNamespace(stamp=None)
        self.cluster = SimpleNamespace(alarms=Alarms())
        self.proposals = Proposals(7, 1, 5.0)
        self.reads = ReadRounds(1, 5.0)
        self.quota = Quota(QUOTA_BYTES, self.store, self.cluster.alarms, lambda: None)
        self.server: Server | None = None
        self._awake = False
        self._index = 0

    @property
    def is_learner(self) -> bool:
        return 7 not in self.node.configuration.all_voters

    def propose(self, kind: int, payload: bytes, waiter: Any) -> None:
        if self.proposals.add(kind, payload, waiter):
            self.wake()

    def read(self, serve: Any, waiter: Any, request: bytes) -> None:
        self.reads.add(serve, waiter, request)
        self.wake()

    def wake(self) -> None:
        if not self._awake:
            self._awake = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._awake = False
        batches: list[Batch] = []
        asked: list[int] = []

        def propose(batch: Batch) -> Fate:
            batches.append(batch)
            return Fate.PROPOSED

        def ask(context: int) -> bool:
            asked.append(context)
            return True

        self.proposals.flush(3, 0.0, propose)
        for one in batches:
            taken = self.proposals.take(one.id)
            assert taken is not None
            self._index += 1
            results = self.store.apply(self._index, 3, one.data, True)
            answer(taken.waiters, cast(Any, results), ERRORS)
        self.reads.begin(0.0, ask)
        for context in asked:
            self.reads.confirm(context, self._index)
        assert self.server is not None
        self.reads.serve(self._index, self.server.flush)
        self.server.flush()


async def answers_of(
    requests: list[tuple[str, bytes]], *, short: bool
) -> tuple[list[tuple[int, str | bytes]], int]:
    """Return what a fresh member answers, and how many requests went the short way."""
    with tempfile.TemporaryDirectory() as directory:
        member = LoneMember(directory)
        service = KvService(cast(Any, member))
        methods = MethodTable()
        if short:
            service.register(methods)
        else:
            methods.unary(f"{SERVICE}Put".encode(), service.put)
            methods.unary(f"{SERVICE}Range".encode(), service.range)
        member.server = Server(methods, lambda: Http1Protocol(HttpRoutes()))
        listener = await asyncio.get_running_loop().create_server(
            member.server.protocol_factory, "127.0.0.1", 0
        )
        target = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        found: list[tuple[int, str | bytes]] = []
        async with grpc.aio.insecure_channel(target) as channel:
            for name, request in requests:
                call = channel.unary_unary(SERVICE + name)
                try:
                    found.append((0, await call(request)))
                except grpc.aio.AioRpcError as error:
                    found.append((error.code().value[0], error.details() or ""))
        listener.close()
        member.server.close()
        await listener.wait_closed()
        member.store.close()
    paths = (service._put_path, service._range_path)
    return found, sum(path.count for path in paths if path is not None)


@settings(max_examples=25, deadline=None)
@given(st.lists(REQUESTS, min_size=1, max_size=30))
def test_both_ways_answer_alike(requests: list[tuple[str, bytes]]) -> None:
    short, count = asyncio.run(answers_of(requests, short=True))
    plain, none = asyncio.run(answers_of(requests, short=False))
    assert short == plain
    assert none == 0
    assert count >= sum(code == 0 for code, _ in short), "what is answered went the short way"


@pytest.mark.parametrize("state", ["learner", "no leader", "corrupt", "users", "no space"])
def test_the_short_ways_are_closed_where_a_request_is_to_be_looked_at(state: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        member = LoneMember(directory)
        service = KvService(cast(Any, member))
        alarms = member.cluster.alarms
        match state:
            case "learner":
                member.node.configuration = Configuration(frozenset({1}), learners=frozenset({7}))
            case "no leader":
                member.node.leader_id = 0
            case "corrupt":
                alarms.is_corrupt = True
            case "users":
                member.auth.stamp = b"1"
            case "no space":
                alarms.is_out_of_space = True
        slow: list[bytes] = []

        def note(stream: Stream, message: bytes) -> None:
            slow.append(message)
            stream.reply(b"")

        async def ask() -> None:
            methods = MethodTable()
            assert service._put_path is not None
            assert service._range_path is not None
            for path in (service._put_path, service._range_path):
                path.slow_handle = note
            service.register(methods)
            member.server = Server(methods, lambda: Http1Protocol(HttpRoutes()))
            listener = await asyncio.get_running_loop().create_server(
                member.server.protocol_factory, "127.0.0.1", 0
            )
            target = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            async with grpc.aio.insecure_channel(target) as channel:
                await channel.unary_unary(SERVICE + "Put")(
                    pb.PutRequest(key=b"k").SerializeToString()
                )
                await channel.unary_unary(SERVICE + "Range")(
                    pb.RangeRequest(key=b"k").SerializeToString()
                )
            listener.close()
            member.server.close()
            await listener.wait_closed()

        asyncio.run(ask())
        member.store.close()
        assert len(slow) == (1 if state == "no space" else 2), "ranges take no space"
