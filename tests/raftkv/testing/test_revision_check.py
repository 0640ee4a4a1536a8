"""The check by revisions passes true histories and names what is wrong with others."""

from collections.abc import Callable

import pytest

from raftkv.pb.etcd import kv_pb2, rpc_pb2
from raftkv.testing.history import Operation, Outcome, Violation
from raftkv.testing.key_model import KeyModel, calls_of, key_of
from raftkv.testing.kv_model import mutates
from raftkv.testing.linearizability import check_parts
from raftkv.testing.revision_check import (
    LeaseEnd,
    RevisionHistory,
    check_operations,
    collect_events,
)

from .recorded_histories import PerfectStore, random_history, whole_stream


def check(store: PerfectStore, operations: list[Operation]) -> list[LeaseEnd]:
    events = collect_events([whole_stream(store)])
    return check_operations(RevisionHistory(), operations, events, store.revision)


def by_search(operations: list[Operation]) -> bool:
    """The verdict of the search over each key."""
    verdicts = check_parts(KeyModel(), calls_of(operations), key_of)
    return all(one.linearizable for one in verdicts.values())


@pytest.mark.parametrize("seed", range(20))
def test_true_histories_pass(seed: int) -> None:
    """Both ways of checking find nothing wrong with a store that keeps its promises."""
    store, operations = random_history(seed, 120)
    assert check(store, operations) == []
    assert by_search(operations)


def test_in_pieces() -> None:
    """A history may be checked piece by piece; requests without an answer are carried over."""
    store, operations = random_history(3, 200, unknown=0.3)
    events = collect_events([whole_stream(store)])
    history = RevisionHistory()
    half = store.revision // 2
    answered = [one for one in operations if one.outcome is Outcome.OK]
    cut = next(at for at, one in enumerate(operations) if revision_of(one) > half)
    assert revision_of(answered[-1]) > half
    check_operations(history, operations[:cut], events, half)
    assert history.revision == half
    waiting = len(history.unknown)
    check_operations(history, operations[cut:], events, store.revision)
    assert waiting
    assert history.keys == store.keys


def revision_of(operation: Operation) -> int:
    return operation.output.header.revision if operation.output is not None else 0  # type: ignore[attr-defined]


def one_of(
    operations: list[Operation], kind: str, wanted: Callable[[Operation], bool] = bool
) -> Operation:
    """Return an answered operation from the middle."""
    found = [
        one for one in operations if one.kind == kind and one.outcome is Outcome.OK and wanted(one)
    ]
    return found[len(found) // 2]


def stale_read(_: PerfectStore, operations: list[Operation]) -> None:
    """It says what was true, of a time before it was called."""
    read = one_of(operations, "range", lambda one: revision_of(one) > 20)
    read.called += 40
    read.returned += 40


def wrong_value(_: PerfectStore, operations: list[Operation]) -> None:
    read = one_of(operations, "range", lambda one: len(one.output.kvs) == 1)  # type: ignore[union-attr]
    read.output.kvs[0].value += b"!"  # type: ignore[union-attr]


def wrong_version(_: PerfectStore, operations: list[Operation]) -> None:
    read = one_of(operations, "range", lambda one: len(one.output.kvs) == 1)  # type: ignore[union-attr]
    read.output.kvs[0].version += 1  # type: ignore[union-attr]


def missing_key(_: PerfectStore, operations: list[Operation]) -> None:
    read = one_of(operations, "range", lambda one: len(one.output.kvs) == 1)  # type: ignore[union-attr]
    read.output.ClearField("kvs")  # type: ignore[union-attr]
    read.output.count = 0  # type: ignore[union-attr]


def wrong_branch(_: PerfectStore, operations: list[Operation]) -> None:
    """A compare held, and the transaction says that it did not."""
    txn = one_of(operations, "txn", lambda one: one.output.succeeded)  # type: ignore[union-attr]
    txn.output.succeeded = False  # type: ignore[union-attr]


def wrong_prev_kv(_: PerfectStore, operations: list[Operation]) -> None:
    put = one_of(operations, "put", lambda one: one.output.HasField("prev_kv"))  # type: ignore[union-attr]
    put.output.prev_kv.value += b"!"  # type: ignore[union-attr]


def deleted_twice(_: PerfectStore, operations: list[Operation]) -> None:
    """Two clients are told that they deleted the same key."""
    delete = one_of(operations, "delete_range", lambda one: mutates(one.output))  # type: ignore[arg-type]
    delete.output.deleted += 1  # type: ignore[union-attr]


def same_revision_twice(_: PerfectStore, operations: list[Operation]) -> None:
    writes = [one for one in operations if one.kind == "put" and one.outcome is Outcome.OK]
    writes[5].output.header.revision = revision_of(writes[4])  # type: ignore[union-attr]


def failed_but_done(_: PerfectStore, operations: list[Operation]) -> None:
    """The client was told that nothing happened."""
    write = one_of(operations, "put")
    write.outcome, write.output = Outcome.FAILED, None


def invented_change(_: PerfectStore, operations: list[Operation]) -> None:
    """Nobody asked for it."""
    operations.remove(one_of(operations, "put"))


def out_of_order(_: PerfectStore, operations: list[Operation]) -> None:
    """A write was called after a later one had returned."""
    write = one_of(operations, "put")
    write.called += 50
    write.returned += 50


def unknown_too_early(_: PerfectStore, operations: list[Operation]) -> None:
    """A request without an answer took effect before it was made."""
    write = one_of(operations, "put")
    write.outcome, write.output = Outcome.UNKNOWN, None
    write.called, write.returned = write.called + 50, float("inf")


def lost_write(store: PerfectStore, _: list[Operation]) -> None:
    """An answered write is in nobody's history: the last one."""
    del store.events[store.revision]
    store.revision -= 1


def lost_revision(store: PerfectStore, _: list[Operation]) -> None:
    del store.events[store.revision // 2]


def other_event(store: PerfectStore, _: list[Operation]) -> None:
    """The store recorded another value than the client wrote."""
    for events in list(store.events.values())[10:]:
        if events[0].type == kv_pb2.Event.PUT:
            changed = kv_pb2.Event()
            changed.CopyFrom(events[0])
            changed.kv.value += b"!"
            events[0] = changed
            return


BREACHES = {
    stale_read: "linearizable",
    wrong_value: "answers follow from the state",
    wrong_version: "answers follow from the state",
    missing_key: "answers follow from the state",
    wrong_branch: "",
    wrong_prev_kv: "answers follow from the state",
    deleted_twice: "answers follow from the state",
    same_revision_twice: "one revision, one request",
    failed_but_done: "every revision has a cause",
    invented_change: "every revision has a cause",
    out_of_order: "linearizable",
    unknown_too_early: "every revision has a cause",
    lost_write: "answers lie in the history",
    lost_revision: "no gap in revisions",
    other_event: "",
}
BY_SEARCH_TOO = (
    stale_read,
    wrong_value,
    wrong_version,
    missing_key,
    wrong_branch,
    wrong_prev_kv,
    deleted_twice,
    out_of_order,
)
"""Those that can be seen in the history of one key."""


@pytest.mark.parametrize("breach", BREACHES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_breaches_are_found(
    breach: Callable[[PerfectStore, list[Operation]], None], seed: int
) -> None:
    """Each broken promise is found, by its name; those of one key by the search as well."""
    store, operations = random_history(seed, 150)
    breach(store, operations)
    with pytest.raises(Violation) as found:
        check(store, operations)
    assert BREACHES[breach] in ("", found.value.promise), found.value
    if breach in BY_SEARCH_TOO:
        assert not by_search(operations)


def test_unknown_happens_once() -> None:
    """A request of unknown outcome explains one revision, not two."""
    store = PerfectStore()
    for value in (b"1", b"2"):
        store.carry_out(rpc_pb2.PutRequest(key=b"k", value=value))
        store.carry_out(rpc_pb2.DeleteRangeRequest(key=b"k"))
    puts = [
        Operation(0, "put", rpc_pb2.PutRequest(key=b"k", value=value), 0.0)
        for value in (b"1", b"2")
    ]
    delete = Operation(0, "delete_range", rpc_pb2.DeleteRangeRequest(key=b"k"), 0.0)
    assert check(store, [*puts, delete, Operation(1, delete.kind, delete.input, 1.0)]) == []
    with pytest.raises(Violation, match="revision 5"):
        check(store, [*puts, delete])


def test_the_end_of_a_lease() -> None:
    """All keys of a lease going at once needs no request; a part of them would."""
    store = PerfectStore()
    puts = [rpc_pb2.PutRequest(key=key, lease=7) for key in (b"a", b"b")]
    operations = [
        Operation(0, "put", put, at, store.carry_out(put), at + 0.5, Outcome.OK)
        for at, put in enumerate(puts)
    ]
    store.expire(7)
    assert check(store, operations) == [LeaseEnd(4, 7, (b"a", b"b"))]
    del store.events[4][0]
    with pytest.raises(Violation, match="every revision has a cause"):
        check(store, operations)


def test_a_delete_may_do_what_the_end_of_a_lease_would() -> None:
    """Where the lease must live, a delete without an answer is taken for the cause; but once."""
    store = PerfectStore()
    operations = []
    for at in range(2):
        put = rpc_pb2.PutRequest(key=b"k", lease=7)
        operations.append(
            Operation(0, "put", put, at, store.carry_out(put), at + 0.5, Outcome.OK),
        )
        store.expire(7)
    delete = Operation(1, "delete_range", rpc_pb2.DeleteRangeRequest(key=b"k"), 0.0)
    events = collect_events([whole_stream(store)])

    def ends(may_end: bool, *unknown: Operation) -> list[int]:
        found = check_operations(
            RevisionHistory(),
            [*operations, *unknown],
            events,
            store.revision,
            lambda end: may_end or end.revision == 3,
        )
        return [end.revision for end in found]

    assert ends(True, delete) == [3, 5]
    assert ends(False, delete) == [3], "the delete is the cause of 5"
    assert ends(False) == [3, 5], "nothing else can be: the book of leases has something to say"


def test_a_cause_is_chosen_anew_where_another_revision_needs_it() -> None:
    """The first delete would do for either revision, the second only for the former."""
    store = PerfectStore()
    puts = [rpc_pb2.PutRequest(key=key) for key in (b"a", b"a", b"b")]
    for number, put in enumerate(puts):
        store.carry_out(put)
        if number == 0:
            store.carry_out(rpc_pb2.DeleteRangeRequest(key=b"a", range_end=b"c"))
    store.carry_out(rpc_pb2.DeleteRangeRequest(key=b"a"))
    written = [Operation(at, "put", put, -1.0) for at, put in enumerate(puts)]
    one = Operation(3, "delete_range", rpc_pb2.DeleteRangeRequest(key=b"a"), 0.0)
    both = Operation(4, one.kind, rpc_pb2.DeleteRangeRequest(key=b"a", range_end=b"c"), 1.0)
    assert check(store, [*written, one, both]) == []
    with pytest.raises(Violation, match="revision 6"):
        check(store, [*written, both, Operation(5, both.kind, both.input, 1.0)])


def test_watches_that_disagree() -> None:
    store, _ = random_history(1, 30)
    one, other = whole_stream(store), whole_stream(store)
    response = next(response for _, response in other.responses if response.events)
    response.events[0].kv.value += b"!"
    with pytest.raises(Violation, match="watches agree"):
        collect_events([one, other])


def test_refuses_what_the_models_do_not_know() -> None:
    """No request is checked by guess."""
    sorted_range = rpc_pb2.RangeRequest(key=b"k", sort_order=rpc_pb2.RangeRequest.DESCEND)
    answer = rpc_pb2.RangeResponse(header=rpc_pb2.ResponseHeader(revision=1))
    operation = Operation(0, "range", sorted_range, 0.0, answer, 1.0, Outcome.OK)
    with pytest.raises(NotImplementedError, match="sort_order"):
        check(PerfectStore(), [operation])
    with pytest.raises(NotImplementedError, match="leases"):
        key_of(rpc_pb2.PutRequest(key=b"k", lease=1))
    with pytest.raises(NotImplementedError, match="ranges"):
        key_of(rpc_pb2.DeleteRangeRequest(key=b"k", range_end=b"z"))
