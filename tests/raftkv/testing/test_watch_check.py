"""The check of watches passes true streams and names what is wrong with others."""

from collections.abc import Callable

import pytest

from raftkv.pb.etcd import rpc_pb2
from raftkv.testing.history import Violation, WatchStream
from raftkv.testing.watch_check import WatchedHistory, check_stream

from .recorded_histories import PerfectStore, random_history, whole_stream

ORDER = "events come in order, without gap or duplicate"


def check(store: PerfectStore, stream: WatchStream, compacted_at_most: int = 0) -> None:
    check_stream(WatchedHistory(1, {}, store.events, compacted_at_most), stream)


def with_events(stream: WatchStream) -> list[int]:
    """Positions of the responses that carry events."""
    return [at for at, (_, one) in enumerate(stream.responses) if one.events]


@pytest.mark.parametrize("seed", range(5))
def test_true_streams_pass(seed: int) -> None:
    store, _ = random_history(seed, 100)
    check(store, whole_stream(store))


def test_part_of_the_keys() -> None:
    """A watch of some keys, of one kind of event and from a later revision, has just those."""
    store, _ = random_history(1, 100)
    request = rpc_pb2.WatchCreateRequest(
        key=b"key/1",
        start_revision=20,
        filters=[rpc_pb2.WatchCreateRequest.NODELETE],
    )
    stream = store.stream(request)
    with pytest.raises(Violation, match=ORDER):
        check(store, stream)
    for _, response in stream.responses:
        kept = [one for one in response.events if one.kv.key == b"key/1" and one.type == one.PUT]
        had_events = bool(response.events)
        del response.events[:]
        response.events.extend(kept)
        if had_events and not kept:
            response.watch_id = -1
    assert with_events(stream)
    check(store, stream)


def gap(stream: WatchStream) -> None:
    """Two revisions before the next progress notification."""
    revisions = {one: stream.responses[one][1].header.revision for one in with_events(stream)}
    del stream.responses[next(at for at in revisions if revisions[at] % 3 == 1)]


def lost_event_with_progress(stream: WatchStream) -> None:
    """The last event is missing, and progress says that all is delivered."""
    last = with_events(stream)[-1]
    revision = stream.responses[last][1].header.revision
    header = rpc_pb2.ResponseHeader(revision=revision)
    del stream.responses[last:]
    stream.responses.append((0.0, rpc_pb2.WatchResponse(header=header)))


def duplicate(stream: WatchStream) -> None:
    at = with_events(stream)[10]
    stream.responses.insert(at, stream.responses[at])


def swapped(stream: WatchStream) -> None:
    one, other = with_events(stream)[10:12]
    responses = stream.responses
    responses[one], responses[other] = responses[other], responses[one]


def before_its_start(stream: WatchStream) -> None:
    stream.request.start_revision += 1


def event_after_progress(stream: WatchStream) -> None:
    """A progress notification comes before an event that it covers."""
    at = with_events(stream)[10]
    header = stream.responses[at][1].header
    stream.responses.insert(at, (0.0, rpc_pb2.WatchResponse(header=header)))


def wrong_value(stream: WatchStream) -> None:
    stream.responses[with_events(stream)[10]][1].events[0].kv.value += b"!"


def wrong_prev_kv(stream: WatchStream) -> None:
    at = next(
        at for at in with_events(stream) if stream.responses[at][1].events[0].HasField("prev_kv")
    )
    stream.responses[at][1].events[0].prev_kv.version += 1


def no_prev_kv(stream: WatchStream) -> None:
    for at in with_events(stream):
        stream.responses[at][1].events[0].ClearField("prev_kv")


def early_header(stream: WatchStream) -> None:
    stream.responses[with_events(stream)[10]][1].header.revision = 1


def created_twice(stream: WatchStream) -> None:
    stream.responses.append(stream.responses[0])


def ended_without_need(stream: WatchStream) -> None:
    """It says that the next revision is compacted, which nobody asked for."""
    stream.responses.append((0.0, rpc_pb2.WatchResponse(canceled=True, compact_revision=1000)))


BREACHES: dict[Callable[[WatchStream], None], str] = {
    gap: ORDER,
    lost_event_with_progress: "progress is honest",
    duplicate: "no event twice or out of order",
    swapped: ORDER,
    before_its_start: "no event twice or out of order",
    event_after_progress: "progress is honest",
    wrong_value: ORDER,
    wrong_prev_kv: "prev_kv is right",
    no_prev_kv: "prev_kv is right",
    early_header: "the header covers the events",
    created_twice: "a watch is created once",
    ended_without_need: "a watch ends by compaction only where it must",
}


@pytest.mark.parametrize("breach", BREACHES, ids=lambda one: one.__name__)
def test_breaches_are_found(breach: Callable[[WatchStream], None]) -> None:
    store, _ = random_history(4, 100)
    stream = whole_stream(store)
    breach(stream)
    with pytest.raises(Violation) as found:
        check(store, stream)
    assert found.value.promise == BREACHES[breach]
    assert found.value.slice


def test_a_cut_revision() -> None:
    """The events of one revision are in one response."""
    store = PerfectStore()
    for key in (b"a", b"b"):
        store.carry_out(rpc_pb2.PutRequest(key=key, lease=7))
    store.expire(7)
    stream = whole_stream(store)
    check(store, stream)
    del stream.responses[with_events(stream)[-1]][1].events[1]
    with pytest.raises(Violation, match="a revision is in one response"):
        check(store, stream)


def test_ended_by_compaction() -> None:
    """A watch whose next revision is compacted may end so, and prev_kv may be missing there."""
    store, _ = random_history(4, 100)
    stream = whole_stream(store)
    no_prev_kv(stream)
    check(store, stream, compacted_at_most=store.revision)
    late = WatchStream(0, rpc_pb2.WatchCreateRequest(key=b"k", start_revision=5))
    header = rpc_pb2.ResponseHeader(revision=20)
    late.responses.append((0.0, rpc_pb2.WatchResponse(created=True, header=header)))
    late.responses.append((0.0, rpc_pb2.WatchResponse(canceled=True, compact_revision=9)))
    check(store, late, compacted_at_most=9)
    late.responses[-1][1].compact_revision = 4
    with pytest.raises(Violation, match="ends by compaction"):
        check(store, late, compacted_at_most=9)
