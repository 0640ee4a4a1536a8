"""Watchers see every event of their range once, in order, whatever their pace.

Every test runs over the native hub and over its plain twin.
"""

import random
from dataclasses import dataclass, field

import pytest

from raftkv._native import watch_hub, watch_hub_reference
from raftkv._native.watch_hub import prefix_end
from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import kv_pb2, rpc_pb2


@dataclass
class History:
    """A store that is nothing but a list of events."""

    revision: int = 1
    compact_revision: int = -1
    log: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    previous: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    live: dict[bytes, bytes] = field(default_factory=dict)

    def put(self, *keys: bytes, delete: bool = False) -> None:
        self.revision += 1
        for key in keys:
            event = kv_pb2.Event(kv=kv_pb2.KeyValue(key=key, mod_revision=self.revision))
            if delete:
                event.type = kv_pb2.Event.DELETE
            else:
                event.kv.value = b"v%d" % self.revision
            if key in self.live:
                self.previous[key, self.revision] = self.live[key]
            if delete:
                self.live.pop(key, None)
            else:
                self.live[key] = event.kv.SerializeToString()
            self.log.append((self.revision, key, event.SerializeToString()))

    def events(self, start: int, end: int, bytes_max: int) -> list[tuple[int, bytes, bytes]]:
        if start < self.compact_revision:
            raise StoreError(ErrorCode.COMPACTED)
        found: list[tuple[int, bytes, bytes]] = []
        size = 0
        for event in self.log:
            if start <= event[0] <= end:
                if size > bytes_max and event[0] != found[-1][0]:
                    break
                found.append(event)
                size += len(event[2])
        return found

    def previous_kv(self, key: bytes, revision: int) -> bytes | None:
        return self.previous.get((key, revision))


class Wire:
    """A sink that keeps what it was sent; `stuck` makes it look like a peer that does not read."""

    def __init__(self) -> None:
        self.responses: list[rpc_pb2.WatchResponse] = []
        self.pending_bytes = 0
        self.stuck = False

    def send(self, head: bytes, tail: bytes | None = None) -> bool:
        message = head + (tail or b"")
        self.responses.append(rpc_pb2.WatchResponse.FromString(message))
        if self.stuck:
            self.pending_bytes += len(message)
        return True

    def take(self) -> list[rpc_pb2.WatchResponse]:
        taken, self.responses = self.responses, []
        return taken

    def keys(self) -> list[bytes]:
        return [event.kv.key for response in self.take() for event in response.events]


class Bench:
    """A hub over a history, with one stream; `hub_type` is set for each test in turn."""

    hub_type: type[watch_hub.WatchHub] | type[watch_hub_reference.WatchHub] = watch_hub.WatchHub

    def __init__(self, **bounds: int) -> None:
        self.store = History()
        self.wakes = 0
        self.hub = self.hub_type(self.store, self.wake, cluster_id=7, member_id=9, **bounds)
        self.hub.raft_term = 3
        self.wire = Wire()
        self.stream = self.hub.open(self.wire)

    def wake(self) -> None:
        self.wakes += 1

    def put(self, *keys: bytes, delete: bool = False) -> None:
        self.store.put(*keys, delete=delete)
        self.hub.publish()

    def settle(self) -> None:
        while self.hub.pump():
            pass


@pytest.fixture(
    params=[watch_hub.WatchHub, watch_hub_reference.WatchHub],
    ids=["native", "reference"],
    autouse=True,
)
def each_hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "hub_type", request.param)


def test_a_watcher_from_now_gets_created_and_then_later_events_only() -> None:
    bench = Bench()
    bench.put(b"a")
    bench.stream.create(b"a", b"", 0)
    bench.put(b"b")
    bench.put(b"a")
    created, event = bench.wire.take()
    assert created.created
    assert (created.header.revision, created.watch_id) == (2, 0)
    assert (event.header.cluster_id, event.header.member_id, event.header.raft_term) == (7, 9, 3)
    assert (event.header.revision, event.events[0].kv.mod_revision) == (4, 4)


@pytest.mark.parametrize(
    ("key", "end", "expected"),
    [
        (b"b", b"", [b"b"]),
        (b"b", b"b\0", [b"b"]),
        (b"b", b"c", [b"b", b"b1", b"bz"]),
        (b"b1", b"c", [b"b1", b"bz"]),
        (b"b1", b"\0", [b"b1", b"bz", b"c", b"\xff"]),
        (b"", b"\0", [b"a", b"b", b"b1", b"bz", b"c", b"\xff"]),
        (b"\0", b"\0", [b"a", b"b", b"b1", b"bz", b"c", b"\xff"]),
        (b"\xff", b"\0", [b"\xff"]),
        (b"x", b"y", []),
    ],
)
@pytest.mark.parametrize("start_revision", [0, 2])
def test_ranges_match_alike_live_and_from_history(
    key: bytes, end: bytes, expected: list[bytes], start_revision: int
) -> None:
    bench = Bench()
    if start_revision == 0:
        bench.stream.create(key, end, 0)
    for written in (b"a", b"b", b"b1", b"bz", b"c", b"\xff"):
        bench.put(written)
    if start_revision:
        bench.stream.create(key, end, start_revision)
        bench.settle()
    assert bench.wire.keys() == expected


def test_all_events_of_one_revision_come_in_one_response() -> None:
    bench = Bench(step_bytes=1)
    bench.stream.create(b"a", b"z", 0)
    bench.put(b"a", b"b", b"c")
    _, response = bench.wire.take()
    assert [event.kv.key for event in response.events] == [b"a", b"b", b"c"]


def test_a_start_in_the_future_skips_what_comes_before_it() -> None:
    bench = Bench()
    bench.stream.create(b"a", b"", 4)
    for _ in range(4):
        bench.put(b"a")
    revisions = [e.kv.mod_revision for r in bench.wire.take() for e in r.events]
    assert revisions == [4, 5]


def test_previous_values_come_where_asked_for_and_present() -> None:
    bench = Bench()
    bench.stream.create(b"a", b"", 0, prev_kv=True)
    bench.stream.create(b"a", b"", 0)
    bench.put(b"a")
    bench.put(b"a", delete=True)
    events = [(r.watch_id, r.events[0]) for r in bench.wire.take() if r.events]
    assert [(i, e.type, e.prev_kv.value) for i, e in events] == [
        (0, 0, b""),
        (1, 0, b""),
        (0, 1, b"v2"),
        (1, 1, b""),
    ]


def test_filters_suppress_whole_responses() -> None:
    bench = Bench()
    bench.stream.create(b"a", b"", 0, no_put=True)
    bench.stream.create(b"a", b"", 0, no_delete=True)
    bench.put(b"a")
    bench.put(b"a", delete=True)
    assert [(r.watch_id, r.events[0].type) for r in bench.wire.take() if r.events] == [
        (1, 0),
        (0, 1),
    ]


def test_ids_are_chosen_reused_and_refused_when_taken() -> None:
    bench = Bench()
    bench.stream.create(b"a", b"", 0)
    bench.stream.create(b"a", b"", 0, watch_id=1)
    bench.stream.create(b"a", b"", 0)
    bench.stream.create(b"a", b"", 0, watch_id=1)
    *created, refused = bench.wire.take()
    assert [response.watch_id for response in created] == [0, 1, 2]
    assert (refused.watch_id, refused.created, refused.canceled) == (-1, True, True)
    assert refused.cancel_reason == "mvcc: duplicate watch ID provided on the WatchStream"
    bench.stream.cancel(1)
    bench.stream.cancel(77)
    bench.stream.create(b"a", b"", 0, watch_id=1)
    canceled, again = bench.wire.take()
    assert (canceled.watch_id, canceled.canceled, canceled.created) == (1, True, False)
    assert (again.watch_id, again.created, again.canceled) == (1, True, False)


def test_an_empty_range_and_a_negative_start_are_refused() -> None:
    bench = Bench()
    bench.stream.create(b"b", b"a", 0)
    bench.stream.create(b"b", b"", -5)
    reasons = [(r.watch_id, r.created, r.canceled, r.cancel_reason) for r in bench.wire.take()]
    assert reasons == [
        (-1, True, True, "mvcc: watcher range is empty"),
        (-1, True, True, "etcdserver: mvcc: required revision has been compacted"),
    ]


def test_a_compacted_start_is_canceled_with_the_compact_revision_and_no_reason() -> None:
    bench = Bench()
    for _ in range(5):
        bench.put(b"a")
    bench.store.compact_revision = 4
    bench.stream.create(b"a", b"", 3)
    bench.stream.create(b"a", b"", 4)
    bench.settle()
    responses = bench.wire.take()
    canceled = [r for r in responses if r.canceled]
    assert [(r.watch_id, r.compact_revision, r.cancel_reason) for r in canceled] == [(0, 4, "")]
    assert canceled[0].header.revision == 0
    assert [e.kv.mod_revision for r in responses for e in r.events] == [4, 5, 6]


def test_progress_never_overtakes_events() -> None:
    bench = Bench()
    for _ in range(3):
        bench.put(b"a")
    bench.stream.create(b"a", b"", 2)
    bench.stream.request_progress()
    assert [r.created for r in bench.wire.take()] == [True]
    bench.settle()
    *events, progress = bench.wire.take()
    assert sum(len(r.events) for r in events) == 3
    assert (progress.watch_id, progress.header.revision) == (-1, 4)
    assert not progress.events


def test_progress_is_answered_at_once_when_all_are_synced() -> None:
    bench = Bench()
    bench.stream.create(b"a", b"", 0)
    bench.wire.take()
    bench.stream.request_progress()
    assert [r.watch_id for r in bench.wire.take()] == [-1]


def test_progress_notifications_go_to_watchers_that_were_quiet() -> None:
    bench = Bench()
    bench.stream.create(b"a", b"", 0, progress_notify=True)
    bench.stream.create(b"b", b"", 0, progress_notify=True)
    bench.stream.create(b"b", b"", 0)
    bench.put(b"a")
    bench.wire.take()
    bench.hub.notify_progress()
    assert [(r.watch_id, r.header.revision) for r in bench.wire.take()] == [(1, 2)]
    bench.hub.notify_progress()
    assert sorted(r.watch_id for r in bench.wire.take()) == [0, 1]


def test_large_responses_are_cut_for_watchers_that_allow_it() -> None:
    bench = Bench(fragment_bytes=40)
    bench.stream.create(b"k", b"l", 0, fragment=True)
    bench.put(*(b"k%d" % number for number in range(9)))
    _, *parts = bench.wire.take()
    assert len(parts) > 1
    assert [part.fragment for part in parts] == [True] * (len(parts) - 1) + [False]
    assert [e.kv.key for p in parts for e in p.events] == [b"k%d" % n for n in range(9)]


def test_a_stuck_stream_costs_no_memory_and_resumes_from_history() -> None:
    bench = Bench(budget_bytes=50)
    bench.stream.create(b"a", b"", 0)
    bench.wire.stuck = True
    for _ in range(100):
        bench.put(b"a")
    assert bench.wire.pending_bytes < 200
    assert bench.hub.slow_count == 1
    bench.wire.stuck = False
    bench.wire.pending_bytes = 0
    bench.stream.drained()
    bench.settle()
    assert [e.kv.mod_revision for r in bench.wire.take() for e in r.events] == list(range(2, 102))
    assert bench.hub.slow_count == 0


def test_closing_a_stream_forgets_its_watchers() -> None:
    bench = Bench()
    bench.stream.create(b"a", b"", 0)
    bench.stream.create(b"a", b"b", 0, progress_notify=True)
    bench.put(b"a")
    bench.stream.create(b"a", b"", 1)
    bench.stream.close()
    bench.stream.close()
    bench.settle()
    bench.wire.take()
    bench.put(b"a")
    bench.hub.notify_progress()
    assert bench.wire.take() == []
    assert (bench.hub.watcher_count, bench.hub.stream_count, bench.hub.synced_count) == (0, 0, 0)


def test_prefix_end() -> None:
    for end in (watch_hub.prefix_end, watch_hub_reference.prefix_end):
        assert end(b"a") == b"b"
        assert end(b"a\xff") == b"b"
        assert end(b"\xff\xff") == b"\0"


@pytest.mark.parametrize("seed", range(20))
def test_random_watchers_see_exactly_their_events(seed: int) -> None:
    """Order, no gap, no duplicate, for random ranges, starts, paces and cancellations."""
    chance = random.Random(seed)
    bench = Bench(budget_bytes=chance.choice([60, 1 << 20]), step_bytes=chance.choice([1, 300]))
    keys = [bytes([a, b]) for a in b"abc" for b in b"\x00m\xff"]
    expected: dict[int, tuple[bytes, bytes, int]] = {}
    received: dict[int, list[tuple[int, bytes]]] = {}

    def collect() -> None:
        for response in bench.wire.take():
            for event in response.events:
                assert event.kv.mod_revision <= response.header.revision
                received[response.watch_id].append((event.kv.mod_revision, event.kv.key))

    for _ in range(300):
        match chance.randrange(6):
            case 0:
                start = chance.randrange(0, bench.store.revision + 4)
                key = chance.choice(keys)[: chance.randrange(1, 3)]
                end = chance.choice([b"", b"\0", prefix_end(key), key + b"\0", b"c\xff"])
                if end in (b"", b"\0") or key < end:
                    number = len(received) + 1
                    expected[number] = (key, end, start or bench.hub.revision + 1)
                    received[number] = []
                    bench.stream.create(key, end, start, watch_id=number)
            case 1:
                bench.hub.pump()
            case 2:
                bench.wire.stuck = not bench.wire.stuck
                if not bench.wire.stuck:
                    bench.wire.pending_bytes = 0
                    bench.stream.drained()
            case _:
                count = chance.randrange(1, 4)
                bench.put(*chance.sample(keys, count), delete=chance.random() < 0.2)
    collect()
    bench.wire.stuck = False
    bench.wire.pending_bytes = 0
    bench.stream.drained()
    bench.settle()
    collect()
    for number, (key, end, start) in expected.items():
        assert received[number] == [
            (revision, written)
            for revision, written, _ in bench.store.log
            if revision >= start
            and (written >= key and (end == b"\0" or written < end) if end else written == key)
        ]
