"""Maintenance.Snapshot on the wire: pieces, what remains, the hash, and calls that end early."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from raftkv.client import Client, ClientError, UnavailableError
from raftkv.rpc.snapshot import CALLS_MAX
from raftkv.testing.etcdctl import installed
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.bbolt.bbolt_check import check
from tests.raftkv.e2e.growing_cluster import GrowingCluster

pytestmark = pytest.mark.slow

KEYS, VALUE_BYTES = 400, 50_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """One member with more than a connection can hold."""
    with ProcessCluster(1, tmp_path_factory.mktemp("snapshot-rpc")) as member:
        member.wait_ready()
        asyncio.run(fill(member.endpoints[0]))
        yield member


async def fill(endpoint: str) -> None:
    async with Client([endpoint]) as client:
        for number in range(KEYS):
            await client.put(b"k%d" % number, b"v" * VALUE_BYTES)


@pytest.fixture
async def client(cluster: ProcessCluster) -> AsyncIterator[Client]:
    async with Client(cluster.endpoints) as opened:
        yield opened


async def test_pieces(client: Client) -> None:
    """32 KiB each, what remains told with each, the hash of all at the end."""
    revision = (await client.get(b"k0")).header.revision
    pieces = [piece async for piece in client.snapshot()]
    data = b"".join(piece.blob for piece in pieces[:-1])
    assert pieces[-1].blob == hashlib.sha256(data).digest()
    left = len(data)
    for piece in pieces[:-1]:
        assert 0 < len(piece.blob) <= 32 << 10
        left -= len(piece.blob)
        assert piece.remaining_bytes == left
    assert pieces[-1].remaining_bytes == left == 0
    assert {piece.version for piece in pieces} == {"3.6.0"}
    assert {piece.header.revision for piece in pieces} == {revision}
    assert check(data)
    assert len(data) > KEYS * VALUE_BYTES


async def test_calls_that_end_early_let_go(client: Client) -> None:
    """More of them, one after the other, than there are snapshots to be had at once."""
    for number in range(20):
        stream = client.snapshot()
        for _ in range(number % 3):
            await anext(stream)
        await stream.aclose()
    assert len([piece async for piece in client.snapshot()]) > 100


async def test_there_is_a_limit_to_snapshots_at_once(
    client: Client, cluster: ProcessCluster
) -> None:
    """One more is refused; who waits on a slow client gets what it had when it asked."""
    before = (await client.get(b"k0")).header.revision
    streams = [client.snapshot() for _ in range(CALLS_MAX)]
    firsts = await asyncio.gather(*(anext(stream) for stream in streams))
    with pytest.raises(ClientError) as refused:
        await anext(client.snapshot())
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    for number in range(50):
        await client.put(b"k%d" % number, b"changed" * 1000)
    rest = [piece.blob async for piece in streams[0]]
    data = b"".join([firsts[0].blob, *rest[:-1]])
    assert rest[-1] == hashlib.sha256(data).digest()
    assert b"changedchanged" not in data
    assert firsts[0].header.revision == before
    for stream in streams[1:]:
        await stream.aclose()


async def test_a_deadline_ends_it(client: Client) -> None:
    with pytest.raises(ClientError) as ended:
        async for _ in client.snapshot(0.001):
            pass
    assert ended.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_learner_gives_its_own(tmp_path: Path) -> None:
    """Learners serve it, as etcd's do: what they have applied by then."""
    with GrowingCluster(2, tmp_path, installed()[-1], []) as growing:
        async with Client(growing.endpoints[:1]) as client:
            await client.put(b"k", b"known to the learner")
        growing.add(1, "--learner")
        data = b""
        async with Client(growing.endpoints[1:]) as client, asyncio.timeout(20):
            while b"known to the learner" not in data:
                try:
                    pieces = [piece.blob async for piece in client.snapshot()]
                    data = b"".join(pieces[:-1])
                except UnavailableError:
                    await asyncio.sleep(0.05)
        assert check(data)
