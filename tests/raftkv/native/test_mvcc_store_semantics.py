"""The rules of etcd's KV and Lease (reference: etcd API guarantees), on both stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftkv._native.mvcc_store import MvccStore
from raftkv._native.mvcc_store_reference import MvccStoreReference
from raftkv.errors import ErrorCode
from raftkv.pb.etcd import kv_pb2, rpc_pb2
from tests.raftkv.native.mvcc_store_driver import (
    CLUSTER_ID,
    MEMBER_ID,
    Driver,
    batch,
    raw_batch,
    txn,
)

Compare, Range, Put, Delete = (
    rpc_pb2.Compare,
    rpc_pb2.RangeRequest,
    rpc_pb2.PutRequest,
    rpc_pb2.DeleteRangeRequest,
)


@pytest.fixture(params=["native", "reference"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    if request.param == "reference":
        yield Driver(MvccStoreReference(cluster_id=CLUSTER_ID, member_id=MEMBER_ID))
        return
    native = MvccStore(
        str(tmp_path / "state"), cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=1 << 30
    )
    yield Driver(native)
    native.close()


def test_headers_tell_cluster_member_revision_and_term(store: Driver) -> None:
    """An empty store is at revision 1; the first write makes 2."""
    assert store.range().header == rpc_pb2.ResponseHeader(
        cluster_id=CLUSTER_ID, member_id=MEMBER_ID, revision=1, raft_term=5
    )
    assert store.put(b"a").header.revision == 2


def test_put_counts_versions_and_keeps_the_create_revision(store: Driver) -> None:
    store.put(b"a", b"1")
    store.put(b"a", b"2")
    kv = store.get(b"a")
    assert (kv.create_revision, kv.mod_revision, kv.version, kv.value) == (2, 3, 2, b"2")


def test_version_starts_again_after_a_delete(store: Driver) -> None:
    store.put(b"a")
    store.delete(b"a")
    store.put(b"a")
    kv = store.get(b"a")
    assert (kv.create_revision, kv.mod_revision, kv.version) == (4, 4, 1)


def test_put_returns_the_previous_value_only_when_asked(store: Driver) -> None:
    store.put(b"a", b"1")
    assert not store.put(b"a", b"2").HasField("prev_kv")
    assert store.put(b"a", b"3", prev_kv=True).prev_kv.value == b"2"
    assert not store.put(b"new", prev_kv=True).HasField("prev_kv")


def test_ignore_value_and_ignore_lease_keep_what_is_there(store: Driver) -> None:
    store.grant(7)
    store.put(b"a", b"1", lease=7)
    store.put(b"a", lease=0, ignore_value=True)
    assert (store.get(b"a").value, store.get(b"a").lease) == (b"1", 0)
    store.put(b"a", b"2", lease=7)
    store.put(b"a", b"3", ignore_lease=True)
    assert (store.get(b"a").value, store.get(b"a").lease) == (b"3", 7)
    assert store.put(b"no", ignore_value=True) == ErrorCode.KEY_NOT_FOUND
    assert store.put(b"no", ignore_lease=True) == ErrorCode.KEY_NOT_FOUND


def test_a_write_without_effect_makes_no_revision(store: Driver) -> None:
    assert store.delete(b"a").deleted == 0
    assert store.txn(success=[Range(key=b"a")]).header.revision == 1
    assert store.range().header.revision == 1


def test_delete_range_deletes_in_key_order_under_one_revision(store: Driver) -> None:
    for key in (b"b", b"a", b"c", b"d"):
        store.put(key, key)
    response = store.delete(b"a", b"d", prev_kv=True)
    assert response.deleted == 3
    assert [kv.key for kv in response.prev_kvs] == [b"a", b"b", b"c"]
    assert response.header.revision == 6
    events = store.store.events(6, 6, 1 << 20)
    assert [(main, key) for main, key, _ in events] == [(6, b"a"), (6, b"b"), (6, b"c")]
    event = kv_pb2.Event.FromString(events[0][2])
    assert event.type == kv_pb2.Event.DELETE
    assert event.kv == kv_pb2.KeyValue(key=b"a", mod_revision=6)


@pytest.mark.parametrize(
    ("range_end", "keys"),
    [(b"", [b"b"]), (b"c", [b"b", b"bb"]), (b"\0", [b"b", b"bb", b"c"]), (b"a", [])],
)
def test_range_end_forms(store: Driver, range_end: bytes, keys: list[bytes]) -> None:
    """Empty is one key, NUL is no end, otherwise the end is not part of the range."""
    for key in (b"a", b"b", b"bb", b"c"):
        store.put(key)
    assert [kv.key for kv in store.range(b"b", range_end).kvs] == keys


def test_count_ignores_the_limit_and_more_tells_of_the_rest(store: Driver) -> None:
    for key in (b"a", b"b", b"c"):
        store.put(key)
    response = store.range(limit=2)
    assert ([kv.key for kv in response.kvs], response.more, response.count) == (
        [b"a", b"b"],
        True,
        3,
    )
    assert not store.range(limit=3).more
    counted = store.range(count_only=True)
    assert (list(counted.kvs), counted.count) == ([], 3)
    filtered = store.range(min_mod_revision=3)
    assert (len(filtered.kvs), filtered.count) == (2, 3)


def test_sorting_and_filters_come_before_the_limit(store: Driver) -> None:
    for key, value in ((b"a", b"2"), (b"b", b"3"), (b"c", b"1"), (b"a", b"9")):
        store.put(key, value)
    of = Range
    assert store.keys(sort_order=of.DESCEND) == [b"c", b"b", b"a"]
    assert store.keys(sort_target=of.MOD) == [b"b", b"c", b"a"]
    assert store.keys(sort_target=of.VALUE, sort_order=of.DESCEND, limit=2) == [b"a", b"b"]
    assert store.keys(sort_target=of.VERSION, sort_order=of.DESCEND, limit=1) == [b"a"]
    assert store.keys(sort_target=of.CREATE, max_create_revision=3) == [b"a", b"b"]
    assert store.keys(max_mod_revision=4) == [b"b", b"c"]
    assert [kv.value for kv in store.range(keys_only=True).kvs] == [b"", b"", b""]


def test_old_revisions_stay_readable_until_compacted(store: Driver) -> None:
    store.put(b"a", b"1")
    store.put(b"a", b"2")
    store.delete(b"a")
    store.put(b"a", b"4")
    assert [store.get(b"a", revision=r) and store.get(b"a", revision=r).value for r in (2, 3)] == [
        b"1",
        b"2",
    ]
    assert store.get(b"a", revision=4) is None
    assert store.range(b"a", b"", revision=6) == ErrorCode.FUTURE_REV
    assert store.range(b"a", b"", revision=2).header.revision == 5
    assert store.compact(3).header.revision == 5
    assert store.range(b"a", b"", revision=2) == ErrorCode.COMPACTED
    assert store.get(b"a", revision=3).value == b"2"


def test_compaction_is_refused_at_or_below_the_last_and_above_the_current(store: Driver) -> None:
    store.put(b"a")
    assert store.compact(3) == ErrorCode.FUTURE_REV
    store.compact(2)
    assert store.compact(2) == ErrorCode.COMPACTED
    assert store.compact(1) == ErrorCode.COMPACTED


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (Compare(key=b"a", target=Compare.VERSION, version=2), True),
        (Compare(key=b"a", target=Compare.MOD, mod_revision=3, result=Compare.LESS), False),
        (Compare(key=b"a", target=Compare.CREATE, create_revision=3, result=Compare.LESS), True),
        (Compare(key=b"a", target=Compare.VALUE, value=b"1", result=Compare.GREATER), True),
        (Compare(key=b"a", target=Compare.LEASE, lease=0, result=Compare.NOT_EQUAL), False),
        (Compare(key=b"no", target=Compare.VERSION, version=0), True),
        (Compare(key=b"no", target=Compare.VALUE, value=b""), False),
        (Compare(key=b"no", target=Compare.VALUE, value=b"x", result=Compare.NOT_EQUAL), False),
        (
            Compare(key=b"a", range_end=b"z", target=Compare.VERSION, result=Compare.GREATER),
            True,
        ),
        (Compare(key=b"a", range_end=b"z", target=Compare.VERSION, version=2), False),
        (Compare(key=b"x", range_end=b"z", target=Compare.VERSION, version=0), True),
        (Compare(key=b"a", target=Compare.VERSION, lease=2), False),
    ],
)
def test_compares(store: Driver, compare: rpc_pb2.Compare, holds: bool) -> None:
    """A missing key has zeros for numbers and fails every value; a range must hold for each key."""
    store.put(b"a", b"1")
    store.put(b"a", b"2")
    store.put(b"b")
    assert store.txn([compare]).succeeded is holds


def test_a_transaction_reads_its_own_writes_and_makes_one_revision(store: Driver) -> None:
    response = store.txn(
        success=[
            Range(key=b"a"),
            Put(key=b"a", value=b"1"),
            Range(key=b"a"),
            Put(key=b"b"),
            Delete(key=b"a", prev_kv=True),
            Range(key=b"a", range_end=b"\0"),
        ]
    )
    before, put, own, _, deleted, after = response.responses
    assert before.response_range.header == rpc_pb2.ResponseHeader(revision=1)
    assert put.response_put.header.revision == 2
    assert own.response_range.header.revision == 2
    assert own.response_range.kvs[0].value == b"1"
    assert deleted.response_delete_range.prev_kvs[0].value == b"1"
    assert [kv.key for kv in after.response_range.kvs] == [b"b"]
    assert response.header.revision == 2
    assert [(main, key) for main, key, _ in store.store.events(2, 9, 1 << 20)] == [
        (2, b"a"),
        (2, b"b"),
        (2, b"a"),
    ]


def test_nested_compares_see_the_state_before_the_transaction(store: Driver) -> None:
    exists = Compare(key=b"a", target=Compare.VERSION, result=Compare.GREATER)
    response = store.txn(
        success=[Put(key=b"a"), txn([exists], [Put(key=b"yes")], [Put(key=b"no")])]
    )
    nested = response.responses[1].response_txn
    assert not nested.succeeded
    assert nested.HasField("header")
    assert nested.header.revision == 0
    assert store.keys() == [b"a", b"no"]


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (Range(key=b"a", revision=99), ErrorCode.FUTURE_REV),
        (Range(key=b"a", revision=1), ErrorCode.COMPACTED),
        (Put(key=b"no", ignore_value=True), ErrorCode.KEY_NOT_FOUND),
        (Put(key=b"a", lease=404), ErrorCode.LEASE_NOT_FOUND),
        (txn(success=[Range(key=b"a", revision=99)]), ErrorCode.FUTURE_REV),
    ],
)
def test_a_transaction_that_cannot_run_whole_changes_nothing(
    store: Driver, operation: Any, error: ErrorCode
) -> None:
    store.put(b"a", b"1")
    store.put(b"a", b"2")
    store.compact(3)
    assert store.txn(success=[Put(key=b"a", value=b"never"), operation]) == error
    assert store.get(b"a").value == b"2"
    assert store.store.revision == 3


def test_leases_attach_move_and_delete_their_keys_sorted(store: Driver) -> None:
    assert store.grant(7, 30) == rpc_pb2.LeaseGrantResponse(
        header=store.range().header, ID=7, TTL=30
    )
    assert store.grant(7) == ErrorCode.LEASE_EXIST
    assert store.grant(8, 9_000_000_001) == ErrorCode.LEASE_TTL_TOO_LARGE
    assert store.put(b"a", lease=404) == ErrorCode.LEASE_NOT_FOUND
    store.grant(8)
    for key in (b"c", b"a", b"b", b"moved", b"loose"):
        store.put(key, lease=7)
    store.put(b"moved", lease=8)
    store.put(b"loose")
    assert store.store.lease_keys(7) == [b"a", b"b", b"c"]
    revision = store.store.revision
    assert store.revoke(7).header.revision == revision + 1
    assert [key for _, key, _ in store.store.events(revision + 1, 99, 1 << 20)] == [
        b"a",
        b"b",
        b"c",
    ]
    assert store.keys() == [b"loose", b"moved"]
    assert store.revoke(7) == ErrorCode.LEASE_NOT_FOUND
    assert store.store.lease_ttl(7) == 0
    assert store.store.take_lease_changes() == [
        ("grant", 7, 30),
        ("grant", 8, 60),
        ("revoke", 7, 0),
    ]


def test_revoking_an_empty_lease_makes_no_revision(store: Driver) -> None:
    store.grant(7)
    assert store.revoke(7).header.revision == 1


def test_events_come_as_whole_revisions_within_a_byte_budget(store: Driver) -> None:
    store.put(b"a", b"1")
    store.txn(success=[Put(key=b"b"), Put(key=b"c")])
    store.put(b"d")
    assert [key for _, key, _ in store.store.events(2, 9, 1)] == [b"a"]
    assert [key for _, key, _ in store.store.events(3, 9, 1)] == [b"b", b"c"]
    assert [key for _, key, _ in store.store.events(2, 3, 1 << 20)] == [b"a", b"b", b"c"]


def test_previous_kv_is_the_value_before_a_revision(store: Driver) -> None:
    store.put(b"a", b"1")
    store.put(b"b")
    store.put(b"a", b"2")
    assert kv_pb2.KeyValue.FromString(store.store.previous_kv(b"a", 4)).value == b"1"
    assert store.store.previous_kv(b"a", 2) is None
    store.compact(4)
    assert store.store.previous_kv(b"a", 4) is None


def test_entries_are_applied_once_and_opaque_commands_handed_back(store: Driver) -> None:
    entry = raw_batch([(64, b"member"), (200, b""), (9, b"?")])
    assert store.store.apply(5, 2, entry, True) == [
        (64, b"member"),
        (200, b""),
        ErrorCode.INVALID_REQUEST,
    ]
    assert (store.store.applied_index, store.store.applied_term) == (5, 2)
    assert store.store.apply(5, 2, batch(Put(key=b"a")), True) == []
    assert store.store.apply(6, 2, batch(Put(key=b"a")), False) is None
    assert store.keys() == [b"a"]


@pytest.mark.parametrize(
    "entry",
    [b"", bytes(19), raw_batch([(1, b"x")])[:-1], raw_batch([(1, b"x")]) + b"?"],
)
def test_an_entry_that_is_no_batch_is_refused_whole(store: Driver, entry: bytes) -> None:
    with pytest.raises(ValueError):
        store.store.apply(1, 1, entry, True)
    assert store.store.applied_index == 0


def test_read_only_transactions_are_answered_without_an_entry(store: Driver) -> None:
    store.put(b"a", b"1")
    answer = store.store.txn_read(txn(success=[Range(key=b"a")]).SerializeToString(), 5)
    assert rpc_pb2.TxnResponse.FromString(answer).responses[0].response_range.count == 1
    write = txn(success=[Put(key=b"a")]).SerializeToString()
    assert store.store.txn_read(write, 5) == ErrorCode.INVALID_REQUEST
