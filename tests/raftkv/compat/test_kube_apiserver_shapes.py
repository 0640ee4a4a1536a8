"""The requests of a kube-apiserver, as its etcd3 storage sends them: etcd and raftkv agree.

Source: kubernetes/apiserver pkg/storage/etcd3 and etcd client/v3/kubernetes.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence

import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.compat.pair import (
    Call,
    Side,
    Step,
    both_answer,
    compact,
    delete,
    get,
    grant,
    put,
    revoke,
    txn,
)
from tests.raftkv.compat.test_watch_options import Watching, plain, watching

pytestmark = pytest.mark.slow

PODS, PODS_END = b"/registry/pods/", b"/registry/pods0"
COMPACT_KEY = b"compact_rev_key"
HAS_LEADER = [("hasleader", "true")]

PROGRESS_MAX_S = 0.05
"""What a RequestProgress may take here, where other tests share the machine; alone it is < 5 ms."""


def mod_is(key: bytes, revision: int) -> pb.Compare:
    return pb.Compare(key=key, target=pb.Compare.MOD, mod_revision=revision)


def create(key: bytes, value: bytes, lease: int = 0) -> Call:
    return txn([mod_is(key, 0)], [put(key, value, lease=lease)])


def update(key: bytes, value: bytes, revision: int) -> Call:
    return txn([mod_is(key, revision)], [put(key, value)], [get(key)])


def remove(key: bytes, revision: int) -> Call:
    return txn([mod_is(key, revision)], [delete(key)], [get(key)])


def pod(number: int) -> bytes:
    return PODS + b"default/pod-%02d" % number


def pods(count: int) -> list[Step]:
    """Begin with exactly so many pods."""
    return [delete(PODS, PODS_END), *(create(pod(n), b"spec %d" % n) for n in range(count))]


SHAPES: dict[str, Sequence[Step]] = {
    "get": [*pods(1), get(pod(0), limit=1), get(pod(9), limit=1)],
    "get at a revision": [*pods(2), lambda now: get(pod(1), limit=1, revision=now)],
    "create": [*pods(0), create(pod(0), b"spec"), create(pod(0), b"spec again")],
    "update": [
        *pods(1),
        lambda now: update(pod(0), b"new", now),
        lambda now: update(pod(0), b"conflict", now - 1),
        lambda now: update(pod(7), b"missing", now),
    ],
    "delete": [
        *pods(1),
        lambda now: remove(pod(0), now - 1),
        lambda now: remove(pod(0), now),
        lambda now: remove(pod(0), now),
    ],
    "list": [*pods(5), get(PODS, PODS_END)],
    "list in pages": [
        *pods(5),
        get(PODS, PODS_END, limit=2),
        lambda now: get(pod(1) + b"\0", PODS_END, limit=2, revision=now),
        lambda now: get(pod(3) + b"\0", PODS_END, limit=2, revision=now),
    ],
    "list at a compacted revision": [
        *pods(3),
        lambda now: compact(now, physical=False),
        lambda now: get(PODS, PODS_END, limit=2, revision=now - 1),
    ],
    "list in the future": [lambda now: get(PODS, PODS_END, revision=now + 10)],
    "count": [*pods(5), get(PODS, PODS_END, count_only=True)],
    "keys": [*pods(5), get(PODS, PODS_END, keys_only=True)],
    "current revision": [*pods(2), get(PODS, PODS_END, limit=1)],
    "health": [get(b"/registry/health")],
    "compaction": [
        *pods(3),
        delete(COMPACT_KEY),
        get(COMPACT_KEY),
        lambda now: txn(
            [pb.Compare(key=COMPACT_KEY, target=pb.Compare.VERSION, version=0)],
            [put(COMPACT_KEY, b"%d" % now)],
            [get(COMPACT_KEY)],
        ),
        lambda now: compact(now - 1, physical=False),
        lambda now: txn(
            [pb.Compare(key=COMPACT_KEY, target=pb.Compare.VERSION, version=0)],
            [put(COMPACT_KEY, b"%d" % now)],
            [get(COMPACT_KEY)],
        ),
    ],
    "event with a lease": [
        grant(900, 3600),
        create(b"/registry/events/default/e1", b"event", lease=900),
        create(b"/registry/events/default/e2", b"event", lease=900),
        revoke(900),
        get(b"/registry/events/", b"/registry/events0", count_only=True),
    ],
}


@pytest.mark.parametrize("name", SHAPES)
async def test_request(same: list[Side], name: str) -> None:
    await both_answer(same, SHAPES[name])


async def watch_pods(watch: Watching, revision: int) -> None:
    """Watch as a watch cache does, from after `revision`."""
    await watch.create(PODS, PODS_END, start_revision=revision, prev_kv=True, progress_notify=True)
    assert (await watch.next()).created


async def test_watch_of_a_cache(same: list[Side]) -> None:
    """Previous values with every update and deletion; creations are told by their revision."""
    await both_answer(same, pods(2))
    told = []
    for side in same:
        async with watching(side, HAS_LEADER) as watch:
            now = await side.revision()
            await watch_pods(watch, now + 1)
            await side.ask(*create(pod(5), b"5"))
            await side.ask(*update(pod(0), b"new", now - 1))
            await side.ask(*remove(pod(1), now))
            while sum(len(one.events) for one in watch.told) < 3:
                await watch.next()
            told.append([plain(one, revision=False) for one in watch.told])
            events = [event for one in watch.told for event in one.events]
            assert [event.HasField("prev_kv") for event in events] == [False, True, True]
            assert events[0].kv.create_revision == events[0].kv.mod_revision
    assert told[1] == told[0]


async def test_resumed_watch(same: list[Side]) -> None:
    """A cache that lost its connection goes on after the last revision that it saw."""
    start = await same[0].revision()
    await both_answer(same, pods(3))
    told = []
    for side in same:
        async with watching(side, HAS_LEADER) as watch:
            await watch.create(PODS, PODS_END, start_revision=start + 1, prev_kv=True)
            told.append(sorted(await watch.events(3)))
    assert told[1] == told[0]


async def test_watch_of_a_compacted_revision(same: list[Side]) -> None:
    """The cache hears of it and lists again."""
    await both_answer(same, [*pods(3), lambda now: compact(now, physical=False)])
    told = []
    for side in same:
        async with watching(side, HAS_LEADER) as watch:
            await watch.create(PODS, PODS_END, start_revision=await side.revision() - 1)
            told.append([plain(await watch.next()) for _ in range(2)])
    assert told[1] == told[0]


async def test_progress_requests(same: list[Side]) -> None:
    """A consistent read from the cache waits for the answer: it must come at once."""
    await both_answer(same, pods(2))
    took: list[float] = []
    for side in same:
        took = []
        async with watching(side, HAS_LEADER) as watch:
            await watch_pods(watch, 0)
            for number in range(30):
                written = await side.ask(*put(b"/registry/other/%d" % number))
                began = time.perf_counter()
                answer = await answered(watch)
                took.append(time.perf_counter() - began)
                assert answer.header.revision >= written.header.revision
    print(f"RequestProgress: median {statistics.median(took) * 1e3:.2f} ms, max {max(took):.4f} s")
    assert statistics.median(took) < PROGRESS_MAX_S


async def answered(watch: Watching) -> pb.WatchResponse:
    """Ask for progress until it is told: etcd does not answer while a watcher is behind."""
    while True:
        await watch.ask_progress()
        try:
            async with asyncio.timeout(0.1):
                answer = await watch.next()
        except TimeoutError:
            continue
        if answer.watch_id == -1:
            return answer


async def test_feature_detection(same: list[Side]) -> None:
    """The version lets an apiserver use RequestProgress; the size is above zero."""
    status = await same[1].ask("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse)
    major, minor, patch = map(int, status.version.split("."))
    assert (major, minor, patch) >= (3, 4, 31)
    assert not (3, 5, 0) <= (major, minor, patch) < (3, 5, 13)
    assert status.dbSize > 0


async def test_streamed_list(same: list[Side]) -> None:
    """RangeStream (Kubernetes 1.37): the pieces together are the unary answer."""
    await both_answer(same, pods(25))
    side = same[1]
    request = pb.RangeRequest(key=PODS, range_end=PODS_END, revision=0)
    stream = side.channel.unary_stream(
        "/etcdserverpb.KV/RangeStream",
        request_serializer=pb.RangeRequest.SerializeToString,
        response_deserializer=pb.RangeStreamResponse.FromString,
    )(request)
    pieces = [piece.range_response async for piece in stream]
    whole = await side.ask("KV/Range", request, pb.RangeResponse)
    assert [kv for piece in pieces for kv in piece.kvs] == list(whole.kvs)
    assert [piece.HasField("header") for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert (pieces[-1].count, pieces[-1].more) == (25, False)
    assert pieces[-1].header.revision == whole.header.revision
