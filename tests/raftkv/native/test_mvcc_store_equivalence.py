"""The native store and its plain twin agree on every answer, whatever is flushed in between."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftkv._native import mem_table, mvcc_store
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.mvcc_store_reference import MvccStoreReference
from raftkv.errors import StoreError
from raftkv.pb.etcd import rpc_pb2
from tests.raftkv.native.mvcc_store_driver import (
    CLUSTER_ID,
    KINDS,
    MEMBER_ID,
    MEMORY_DISK,
    batch,
    op,
    raw_batch,
)

LONG = b"a" * 480
KEYS = st.sampled_from(
    [b"a", b"a\0", b"aa", b"b", b"b\xff", b"c", LONG, LONG + b"\0", LONG + b"b", LONG + b"bb"]
)
ENDS = st.sampled_from([b"", b"", b"\0", b"b", b"c", b"d", LONG + b"b", b"A"])
LARGE = [b"x" * (32 << 10), b"y" * 40_000]
"""Values that stay in their entry's bytes, where they are most of it."""
VALUES = st.one_of(st.binary(max_size=3), st.binary(max_size=3), st.sampled_from(LARGE))
LEASES = st.sampled_from([0, 0, 0, 1, 2, -3])
SMALL = st.integers(-1, 12)

RANGES = st.builds(
    rpc_pb2.RangeRequest,
    key=KEYS,
    range_end=ENDS,
    limit=st.integers(-1, 3),
    revision=st.one_of(st.just(0), st.integers(-1, 40)),
    sort_order=st.integers(0, 2),
    sort_target=st.integers(0, 4),
    keys_only=st.booleans(),
    count_only=st.booleans(),
    min_mod_revision=SMALL,
    max_mod_revision=SMALL,
    min_create_revision=SMALL,
    max_create_revision=SMALL,
)
PLAIN_RANGES = st.builds(rpc_pb2.RangeRequest, key=KEYS, range_end=ENDS)
PUTS = st.builds(
    rpc_pb2.PutRequest,
    key=KEYS,
    value=VALUES,
    lease=LEASES,
    prev_kv=st.booleans(),
    ignore_value=st.sampled_from([False, False, True]),
    ignore_lease=st.sampled_from([False, False, True]),
)
DELETES = st.builds(rpc_pb2.DeleteRangeRequest, key=KEYS, range_end=ENDS, prev_kv=st.booleans())


@st.composite
def compares(draw: Any) -> rpc_pb2.Compare:
    compare = rpc_pb2.Compare(
        key=draw(KEYS),
        range_end=draw(ENDS),
        result=draw(st.integers(0, 3)),
        target=draw(st.integers(0, 4)),
    )
    union = draw(st.sampled_from(["version", "create_revision", "mod_revision", "value", "lease"]))
    setattr(compare, union, draw(VALUES) if union == "value" else draw(SMALL))
    return compare


def txns(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[rpc_pb2.TxnRequest]:
    ops = st.lists(st.one_of(RANGES, PLAIN_RANGES, PUTS, DELETES, inner).map(op), max_size=3)
    return st.builds(
        rpc_pb2.TxnRequest, compare=st.lists(compares(), max_size=2), success=ops, failure=ops
    )


TXNS = txns(txns(PUTS))
COMMANDS = st.one_of(
    PUTS,
    PUTS,
    DELETES,
    TXNS,
    st.builds(rpc_pb2.CompactionRequest, revision=st.integers(0, 25)),
    st.builds(rpc_pb2.LeaseGrantRequest, ID=LEASES, TTL=st.integers(1, 9)),
    st.builds(rpc_pb2.LeaseRevokeRequest, ID=LEASES),
)
STEPS = st.one_of(
    st.lists(COMMANDS, min_size=1, max_size=4),
    st.lists(COMMANDS, min_size=1, max_size=4),
    st.sampled_from(["flush", "freeze", "compact", "crash", "reopen"]),
)


def lone(entry: bytes) -> bytes:
    """Return a copy that nobody but its taker will hold."""
    return bytes(bytearray(entry))


class Pair:
    """Both stores, fed the same entries. A crash replays what the native one had not flushed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.native = self.open()
        self.plain = MvccStoreReference(cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
        self.entries: list[bytes] = []

    def open(self) -> MvccStore:
        return MvccStore(self.path, cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=1 << 30)

    def step(self, step: Any) -> None:
        if step == "flush":
            self.native.flush()
        elif step == "freeze":
            self.native.maybe_flush(force=True)
        elif step == "compact":
            self.native.compact_step(2)
        elif step in ("crash", "reopen"):
            if step == "reopen":
                self.native.flush()
            self.native.close()
            self.native = self.open()
            for index in range(self.native.applied_index, len(self.entries)):
                self.native.apply(index + 1, 5, lone(self.entries[index]), False)
            self.native.take_lease_changes()
        else:
            self.apply(batch(*step))

    def apply(self, entry: bytes) -> None:
        self.entries.append(entry)
        index = len(self.entries)
        answers = self.plain.apply(index, 5, entry, True)
        assert self.native.apply(index, 5, lone(entry), True) == answers
        assert self.native.take_lease_changes() == self.plain.take_lease_changes()

    def check(self, request: rpc_pb2.RangeRequest) -> None:
        data = request.SerializeToString()
        assert self.native.range(data, 6) == self.plain.range(data, 6)
        assert self.native.revision == self.plain.revision
        assert self.native.compact_revision == self.plain.compact_revision
        assert sorted(self.native.lease_ids()) == sorted(self.plain.lease_ids())
        for lease in (1, 2, -3):
            assert self.native.lease_keys(lease) == self.plain.lease_keys(lease)

    def check_history(self, bytes_max: int) -> None:
        first = max(self.plain.compact_revision, 0)
        events = self.plain.events(first, 100, bytes_max)
        assert self.native.events(first, 100, bytes_max) == events
        for main, key, _ in events:
            assert self.native.previous_kv(key, main) == self.plain.previous_kv(key, main)
        if first > 0:
            with pytest.raises(StoreError):
                self.native.events(first - 1, 100, bytes_max)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(
    steps=st.lists(st.tuples(STEPS, RANGES), min_size=1, max_size=14),
    bytes_max=st.integers(1, 200),
)
def test_native_and_plain_store_agree(steps: list[tuple[Any, Any]], bytes_max: int) -> None:
    """Answers, events, previous values and leases are equal, byte for byte, after any history."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as path:
        pair = Pair(path)
        try:
            for step, request in steps:
                pair.step(step)
                pair.check(request)
                pair.check(rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0"))
                pair.check_history(bytes_max)
            while pair.native.compact_step(3):
                pair.check_history(bytes_max)
            pair.check_history(1 << 20)
        finally:
            pair.native.close()
    assert mvcc_store.live_stores == 0
    assert mem_table.live_tables == 0


@settings(max_examples=300, deadline=None, database=None)
@given(TXNS, st.integers(1, 4))
def test_checks_of_transactions_agree(request: rpc_pb2.TxnRequest, ops_max: int) -> None:
    """Budget, empty keys, duplicate and overlapping writes are refused alike."""
    plain = MvccStoreReference(cluster_id=1, member_id=1, txn_ops_max=ops_max)
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as path:
        native = MvccStore(path, cluster_id=1, member_id=1, map_size=1 << 30, txn_ops_max=ops_max)
        data = request.SerializeToString()
        assert native.check_txn(data) == plain.check_txn(data)
        native.close()


@settings(max_examples=200, deadline=None, database=None)
@given(st.sampled_from(sorted(KINDS.values())), st.binary(max_size=60), COMMANDS, st.data())
def test_malformed_bytes_are_refused(kind: int, noise: bytes, command: Any, data: Any) -> None:
    """Noise and torn messages come back as an error or as a message; nothing is read past the end.

    Where both sides parse the bytes, they agree.
    """
    whole = command.SerializeToString()
    cut = data.draw(st.integers(0, len(whole)))
    torn = whole[:cut] + data.draw(st.binary(max_size=3))
    entry = raw_batch([(kind, noise), (KINDS[type(command)], torn)])
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as path:
        store = MvccStore(path, cluster_id=1, member_id=1, map_size=1 << 30)
        try:
            answers = store.apply(1, 1, entry, True)
            assert answers is not None
            assert len(answers) == 2
            for request in (noise, torn):
                for check in (
                    store.check_put,
                    store.check_range,
                    store.check_delete_range,
                    store.check_txn,
                ):
                    assert check(request) >= 0
                store.range(request, 1)
                store.txn_read(request, 1)
            store.flush()
        finally:
            store.close()
