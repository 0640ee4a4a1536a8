"""Every option and answer of Watch: a real etcd and raftkv send the same messages."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.compat.pair import Side, both_answer, compact, delete, get, put, txn

pytestmark = pytest.mark.slow

W = pb.WatchCreateRequest
WAIT_S = 10


@dataclass
class Watching:
    """One watch stream, and what came on it."""

    side: Side
    stream: Any
    told: list[pb.WatchResponse] = field(default_factory=list)

    async def create(self, key: bytes, range_end: bytes = b"", **options: Any) -> None:
        request = W(key=key, range_end=range_end, **options)
        await self.stream.write(pb.WatchRequest(create_request=request))

    async def cancel(self, watch_id: int) -> None:
        request = pb.WatchCancelRequest(watch_id=watch_id)
        await self.stream.write(pb.WatchRequest(cancel_request=request))

    async def ask_progress(self) -> None:
        await self.stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    async def next(self) -> pb.WatchResponse:
        async with asyncio.timeout(WAIT_S):
            response = await self.stream.read()
        assert isinstance(response, pb.WatchResponse), response
        self.told.append(response)
        return response

    async def events(self, count: int) -> list[str]:
        """Read until so many events came; return them, by watcher."""
        found: list[str] = []
        while len(found) < count:
            response = await self.next()
            found += [f"{response.watch_id}: {event}" for event in response.events]
        return found


@asynccontextmanager
async def watching(side: Side, metadata: Sequence[tuple[str, str]] = ()) -> AsyncIterator[Watching]:
    stream = side.channel.stream_stream(
        "/etcdserverpb.Watch/Watch",
        request_serializer=pb.WatchRequest.SerializeToString,
        response_deserializer=pb.WatchResponse.FromString,
    )(metadata=metadata)
    try:
        yield Watching(side, stream)
    finally:
        stream.cancel()


def plain(response: pb.WatchResponse, *, revision: bool = True) -> str:
    """Return a response as text, without what two clusters must differ in."""
    copy = pb.WatchResponse.FromString(response.SerializeToString())
    copy.header.cluster_id = copy.header.member_id = copy.header.raft_term = 0
    if not revision:
        copy.header.revision = 0
    return str(copy)


async def both_send(same: list[Side], options: list[dict[str, Any]], count: int) -> list[str]:
    """Create watchers on one stream and compare the next `count` responses; returns etcd's."""
    told = []
    for side in same:
        async with watching(side) as watch:
            for create in options:
                await watch.create(**create)
            told.append([plain(await watch.next()) for _ in range(count)])
    assert told[1] == told[0]
    return told[0]


REFUSED: dict[str, dict[str, Any]] = {
    "empty range": {"key": b"b", "range_end": b"a"},
    "range that ends where it begins": {"key": b"a", "range_end": b"a"},
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_creations(same: list[Side], name: str) -> None:
    """Created and canceled at once, under no id; the stream lives on."""
    refused, created = await both_send(same, [REFUSED[name], {"key": b"a"}], 2)
    assert "canceled: true" in refused
    assert "watch_id: -1" in refused
    assert "canceled" not in created


async def test_a_negative_start_is_refused(same: list[Side]) -> None:
    """As etcd 3.6 does; etcd 3.5 takes it for a start from now."""
    async with watching(same[1]) as watch:
        await watch.create(b"a", start_revision=-1)
        told = await watch.next()
    assert (told.created, told.canceled, told.watch_id) == (True, True, -1)
    assert told.cancel_reason == "etcdserver: mvcc: required revision has been compacted"


IDS: dict[str, list[dict[str, Any]]] = {
    "counted from 0": [{"key": b"a"}, {"key": b"b"}, {"key": b"c"}],
    "chosen by the client": [{"key": b"a", "watch_id": 7}, {"key": b"b"}],
    "counted past a chosen one": [{"key": b"a", "watch_id": 1}, {"key": b"b"}, {"key": b"c"}],
    "taken twice": [{"key": b"a", "watch_id": 7}, {"key": b"b", "watch_id": 7}],
    "negative": [{"key": b"a", "watch_id": -3}],
}


@pytest.mark.parametrize("name", IDS)
async def test_ids(same: list[Side], name: str) -> None:
    await both_send(same, IDS[name], len(IDS[name]))


async def test_an_id_is_free_again_after_its_cancelation(same: list[Side]) -> None:
    told = []
    for side in same:
        async with watching(side) as watch:
            await watch.create(b"a", watch_id=9)
            await watch.next()
            await watch.cancel(9)
            await watch.next()
            await watch.cancel(9)  # an unknown id: no answer
            await watch.create(b"a", watch_id=9)
            await watch.next()
            told.append([plain(one) for one in watch.told])
    assert told[1] == told[0]


RANGES: dict[str, tuple[bytes, bytes]] = {
    "one key": (b"w/b", b""),
    "prefix": (b"w/", b"w0"),
    "from a key on": (b"w/b", b"\0"),
    "all keys": (b"\0", b"\0"),
    "no key": (b"", b"\0"),
    "range": (b"w/a", b"w/c"),
}

WRITES = [
    put(b"w/a", b"1"),
    put(b"w/b", b"1"),
    put(b"w/b", b"2"),
    delete(b"w/a"),
    txn([], [put(b"w/a", b"3"), put(b"w/c", b"3"), delete(b"w/b")]),
    delete(b"w/", b"w0"),
]


async def written_before(same: list[Side]) -> int:
    """Write; return the revision of the first write."""
    start = await same[0].revision() + 1
    await both_answer(same, WRITES)
    return start


@pytest.mark.parametrize("prev_kv", [False, True])
@pytest.mark.parametrize("name", RANGES)
async def test_history(same: list[Side], name: str, prev_kv: bool) -> None:
    """What was written before is told in order, each transaction whole."""
    start = await written_before(same)
    await both_answer(same, [put(b"\xff/end"), put(b"w/b", b"last")])
    told = []
    for side in same:
        async with watching(side) as watch:
            key, range_end = RANGES[name]
            await watch.create(key, range_end, start_revision=start, prev_kv=prev_kv)
            found: list[str] = []
            while not found or "last" not in found[-1]:
                found += await watch.events(1)
            told.append(found)
    assert told[1] == told[0]


@pytest.mark.parametrize("filters", [[], [W.NOPUT], [W.NODELETE], [W.NOPUT, W.NODELETE]])
@pytest.mark.parametrize("prev_kv", [False, True])
async def test_live_events(same: list[Side], filters: list[int], prev_kv: bool) -> None:
    """Each write is one response, told with its revision; filtered ones are not told."""
    await both_answer(same, [put(b"w/a"), put(b"w/b")])
    told = []
    for side in same:
        async with watching(side) as watch:
            await watch.create(b"w/", b"w0", filters=filters, prev_kv=prev_kv)
            await watch.create(b"end")
            await watch.next(), await watch.next()
            for write in [*WRITES, put(b"end")]:
                await side.ask(*write)
                await side.ask(*get(b"w/a"))
            while watch.told[-1].watch_id != 1 or not watch.told[-1].events:
                await watch.next()
            told.append([plain(one) for one in watch.told])
    assert told[1] == told[0]


async def test_a_start_in_the_future_waits(same: list[Side]) -> None:
    now = await same[0].revision()
    told = []
    for side in same:
        async with watching(side) as watch:
            await watch.create(b"f", start_revision=now + 3)
            await watch.next()
            for value in (b"1", b"2", b"3"):
                await side.ask(*put(b"f", value))
            told.append(await watch.events(1))
    assert told[1] == told[0]
    assert "3" in told[0][0]


@pytest.mark.parametrize("before", [2, 1, 0, -1])
async def test_starts_around_the_compact_revision(same: list[Side], before: int) -> None:
    """Below it the watch is canceled with that revision and no reason; at it all is told."""
    await both_answer(same, [put(b"c", b"%d" % n) for n in range(4)])
    now = await same[0].revision()
    await both_answer(same, [compact(now - 1)])
    told = []
    for side in same:
        async with watching(side) as watch:
            await watch.create(b"c", start_revision=now - 1 - before)
            await watch.create(b"other")
            await watch.create(b"c", start_revision=now)
            while len(watch.told) < 5:
                await watch.next()
            ordered = sorted(watch.told, key=lambda one: (one.watch_id, not one.created))
            told.append([plain(one) for one in ordered])
    assert told[1] == told[0]
    assert any("compact_revision" in one for one in told[0]) == (before > 0)


async def test_progress_on_request(same: list[Side]) -> None:
    """One answer for the whole stream, with the current revision."""
    await both_answer(same, [put(b"p")])
    told = []
    for side in same:
        async with watching(side) as watch:
            await watch.create(b"p")
            await watch.create(b"q")
            await watch.next(), await watch.next()
            answer = None
            async with asyncio.timeout(WAIT_S):
                while answer is None or answer.watch_id != -1:
                    await watch.ask_progress()  # etcd answers only when all are synced
                    answer = await watch.next()
            told.append(plain(answer))
    assert told[1] == told[0]


async def test_fragments(same: list[Side]) -> None:
    """Large responses come in pieces, all but the last marked; whole they are the same events."""
    start = await same[0].revision() + 1
    big = [put(b"frag/%d" % n, b"x" * 150_000) for n in range(3)]
    await both_answer(same, [big[0], big[1], big[2], put(b"frag/9", b"end")])
    told = []
    for side in same:
        async with watching(side) as watch:
            await watch.create(b"frag/", b"frag0", start_revision=start, fragment=True)
            told.append(await watch.events(4))
    assert told[1] == told[0]
    single = await fragments_of_one_revision(same)
    assert single[1] == single[0] > 1


async def fragments_of_one_revision(same: list[Side]) -> list[int]:
    """Count the pieces in which one transaction's events come."""
    keys = [b"one/%d" % n for n in range(8)]
    for key in keys:
        await both_answer(same, [put(key, b"x" * 150_000)])
    counts = []
    for side in same:
        async with watching(side) as watch:
            await watch.create(b"one/", b"one0", prev_kv=True, fragment=True)
            await watch.next()
            await side.ask(*delete(b"one/", b"one0"))
            await watch.events(len(keys))
            pieces = watch.told[1:]
            assert [one.fragment for one in pieces] == [True] * (len(pieces) - 1) + [False]
            counts.append(len(pieces))
    return counts


async def test_a_client_that_asks_no_more_is_still_told(same: list[Side]) -> None:
    """Half-closing the stream cancels nothing: clients that send one request depend on it."""
    told = []
    for side in same:
        async with watching(side, [("hasleader", "true")]) as watch:
            await watch.create(b"half")
            await watch.next()
            await watch.stream.done_writing()
            await side.ask(*put(b"half", b"1"))
            await watch.next()
            await side.ask(*put(b"half", b"2"))
            await watch.next()
            told.append([plain(one) for one in watch.told])
    assert told[1] == told[0]
