"""What one client does to a member stays bounded, and the others are served on.

Small versions of `python -m bench.limits`, which has the figures.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.limits import CASES, Case, memory, strain
from bench.raw_client import RawClient
from raftkv.client import Client, ClientError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.process_cluster import ProcessCluster

RST_STREAM = 3
SCALE = 0.03
"""300 watchers, 150 connections, a range of 30 MiB."""
MIB = 1 << 20
GROWTH_MIB = {"large_values": 96, "slow_range": 24}
"""What a strain may add to a member's memory: a memory table of large values is flushed at some
point; everything else is small. A whole answer of `slow_range` would be 30 MiB, twice over."""
GROWTH_MIB_OTHERS = 16
ANSWER_WITHIN_S = 2.0
REQUESTS = 30


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with ProcessCluster(1, tmp_path_factory.mktemp("limits")) as cluster:
        cluster.wait_ready()
        yield cluster


async def ordinary_client(endpoint: str) -> float:
    """Write and read in turns; returns how long the slowest request took."""
    slowest = 0.0
    async with Client([endpoint]) as client:
        for number in range(REQUESTS):
            began = time.monotonic()
            await client.put(b"ordinary", b"%d" % number)
            assert (await client.get(b"ordinary")).kvs[0].value == b"%d" % number
            slowest = max(slowest, time.monotonic() - began)
    return slowest


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.load)
async def test_memory_is_bounded_and_others_are_served(case: Case, member: ProcessCluster) -> None:
    endpoint, pid = member.endpoints[0], member.pid(0)
    if case.before:
        with strain(case.before, endpoint, SCALE):
            pass
    await ordinary_client(endpoint)
    before = memory(pid)[0]
    peak = before
    with strain(case.load, endpoint, SCALE):
        for _ in range(3):
            slowest = await ordinary_client(endpoint)
            assert slowest < ANSWER_WITHIN_S
            peak = max(peak, memory(pid)[0])
    assert peak - before < GROWTH_MIB.get(case.load, GROWTH_MIB_OTHERS) * MIB


async def fill(client: Client, prefix: bytes, count: int) -> pb.RangeRequest:
    """Write `count` values of 1 MiB; returns the range of them at the revision then."""
    for number in range(count):
        await client.put(prefix + b"%02d" % number, bytes(MIB))
    revision = (await client.get(prefix)).header.revision
    return pb.RangeRequest(key=prefix, range_end=prefix[:-1] + b"0", revision=revision)


async def test_a_large_range_is_answered_like_any_other(member: ProcessCluster) -> None:
    async with Client([member.endpoints[0]]) as client:
        request = await fill(client, b"large/", 8)
        whole = await client.range(request)
        assert [len(one.value) for one in whole.kvs] == [MIB] * 8
        assert (whole.count, whole.more) == (8, False)
        request.limit = 7
        limited = await client.range(request)
        assert (len(limited.kvs), limited.more, limited.count) == (7, True, 8)


async def test_a_large_range_that_a_compaction_overtakes_ends_in_an_error(
    member: ProcessCluster,
) -> None:
    """It is broken off, not cut short as if it were whole."""
    endpoint = member.endpoints[0]
    async with Client([endpoint]) as client, RawClient(endpoint) as slow:
        request = await fill(client, b"overtaken/", 24)
        slow.call("/etcdserverpb.KV/Range", request.SerializeToString())
        await slow.receive()  # the answer has begun; nothing more is read for now
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        changed = await client.put(b"overtaken/more", b"")
        await client.compact(changed.header.revision)
        with pytest.raises(ClientError, match="compacted"):
            await client.range(request)
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            while (await slow.receive())[0] != RST_STREAM:
                pass
        assert slow.received_bytes < 24 * MIB


async def test_rates_are_kept_where_flags_ask_for_it(tmp_path: Path) -> None:
    flags = ["--rate-limit-per-prefix=hot/=0.001:2"]
    cluster = ProcessCluster(1, tmp_path, flags)
    with cluster:
        cluster.wait_ready()
        async with Client(cluster.endpoints) as client:
            await client.put(b"hot/a", b"")
            await client.get(b"hot/a")
            with pytest.raises(ClientError, match="too many requests"):
                await client.put(b"hot/b", b"")
            for number in range(10):
                await client.put(b"cold/%d" % number, b"")
