"""Large values stay in the bytes of their entry: whose memory that is, and for how long."""

from __future__ import annotations

import gc
import random
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raftkv._native import mem_table
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.mvcc_store_reference import MvccStoreReference
from raftkv.pb.etcd import rpc_pb2
from tests.raftkv.native.mvcc_store_driver import (
    CLUSTER_ID,
    MEMBER_ID,
    Driver,
    batch,
    op,
    raw_batch,
    txn,
)

KEPT_MIN = 32 << 10
"""The smallest value that is kept: `mem_table.pxd`."""
SMALL_THINGS = 24 << 10
"""More than a table of few keys needs beside their values."""
OPAQUE = 64
"""A kind of command that only fills an entry here."""

Put, Delete = rpc_pb2.PutRequest, rpc_pb2.DeleteRangeRequest


class Gate:
    """A flusher's thread that does nothing before it is opened."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)
        self.opened = threading.Event()
        self.pool.submit(self.opened.wait)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()
    made.pool.shutdown()


def open_store(path: Path, **options: Any) -> MvccStore:
    options = {"cluster_id": CLUSTER_ID, "member_id": MEMBER_ID, "map_size": 1 << 30, **options}
    return MvccStore(str(path / "state"), **options)


@pytest.fixture
def store(tmp_path: Path, gate: Gate) -> Iterator[MvccStore]:
    """A store whose thread waits for the gate; `flush` without one under way does not."""
    opened = open_store(tmp_path, flush_pool=gate.pool)
    yield opened
    gate.opened.set()
    opened.close()
    assert mem_table.live_tables == 0


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(size * 31 + seed).randbytes(size)


def apply(store: MvccStore, *entries: bytes) -> None:
    for entry in entries:
        store.apply(store.applied_index + 1, 5, entry, True)


def references(entries: list[bytes]) -> list[int]:
    """Count who holds each, the list included."""
    return [sys.getrefcount(entries[place]) for place in range(len(entries))]


def churn() -> None:
    """Give memory that nobody owns a new content."""
    gc.collect()
    held = [bytearray(b"\xee" * (size << 10)) for size in (8, 33, 40, 64, 100, 300) * 20]
    del held


def wait_for_flush(store: MvccStore) -> None:
    deadline = time.monotonic() + 10
    while store.flush_running:
        assert time.monotonic() < deadline, "the flush does not end"
        time.sleep(0.001)
    store.maybe_flush()


def put_in_entry(value: bytes, entry_bytes: int = 0) -> bytes:
    """Return an entry that puts the value under `a`, filled up to `entry_bytes`."""
    command = (1, Put(key=b"a", value=value).SerializeToString())
    alone = raw_batch([command])
    if not entry_bytes:
        return alone
    header = len(raw_batch([(OPAQUE, b"")])) - len(raw_batch([]))
    entry = raw_batch([(OPAQUE, b"o" * (entry_bytes - len(alone) - header)), command])
    assert len(entry) == entry_bytes
    return entry


@pytest.mark.parametrize(
    ("value_bytes", "entry_bytes", "kept"),
    [
        (3 << 19, 0, True),
        (KEPT_MIN, 0, True),
        (KEPT_MIN - 1, 0, False),
        (KEPT_MIN, 2 * KEPT_MIN, True),
        (KEPT_MIN, 2 * KEPT_MIN + 1, False),
        (100_000, 200_000, True),
        (100_000, 200_001, False),
    ],
)
def test_a_large_value_is_kept_where_it_is_half_of_its_entry(
    store: MvccStore, value_bytes: int, entry_bytes: int, kept: bool
) -> None:
    """What a table keeps is its memory, and at most twice the value."""
    value = noise(value_bytes)
    entry = put_in_entry(value, entry_bytes)
    before = sys.getrefcount(entry)
    apply(store, entry)
    assert sys.getrefcount(entry) == before + kept
    counted = len(entry) if kept else value_bytes
    assert counted <= store.table_bytes < counted + SMALL_THINGS
    assert Driver(store).get(b"a").value == value
    store.flush()
    assert sys.getrefcount(entry) == before
    assert store.table_bytes == 0
    assert Driver(store).get(b"a").value == value


def test_a_large_value_among_others_is_read_back_as_all_are(store: MvccStore) -> None:
    """One that dominates its entry is kept, of several no one is; neighbours are copied."""
    large, other, small = noise(100_000), noise(90_000), noise(100)
    entries = [
        batch(Put(key=b"a", value=small), Put(key=b"b", value=large), Put(key=b"c")),
        batch(*(Put(key=b"d%d" % n, value=other) for n in range(3))),
    ]
    before = references(entries)
    apply(store, *entries)
    assert references(entries) == [before[0] + 1, before[1]]
    entries.clear()
    churn()
    found = {kv.key: kv.value for kv in Driver(store).range().kvs}
    expected = {b"a": small, b"b": large, b"c": b"", b"d0": other, b"d1": other, b"d2": other}
    assert found == expected


def test_an_entry_is_counted_once_however_often_its_value_is_put(store: MvccStore) -> None:
    value = noise(200_000)
    again = Put(key=b"a", ignore_value=True)
    entry = batch(Put(key=b"a", value=value), again, again)
    before = sys.getrefcount(entry)
    apply(store, entry)
    assert sys.getrefcount(entry) == before + 1
    assert len(entry) <= store.table_bytes < len(entry) + SMALL_THINGS
    kv = Driver(store).get(b"a")
    assert (kv.version, kv.value) == (3, value)


def test_a_value_repeated_from_an_older_table_does_not_go_with_it(
    store: MvccStore, gate: Gate
) -> None:
    """`ignore_value` in a small entry finds its value in a table that will soon be freed."""
    value = noise(200_000)
    apply(store, put_in_entry(value))
    store.maybe_flush(force=True)
    again = batch(Put(key=b"a", ignore_value=True))
    before = sys.getrefcount(again)
    apply(store, again)
    assert sys.getrefcount(again) == before
    gate.opened.set()
    wait_for_flush(store)
    churn()
    kv = Driver(store).get(b"a")
    assert (kv.version, kv.value) == (2, value)
    apply(store, again)  # and one whose value is on disk, or in a table that stays
    assert Driver(store).get(b"a").value == value


def test_what_changes_nothing_keeps_nothing(store: MvccStore) -> None:
    """Refused puts, the branch not taken and entries that are no batch leave no reference."""
    large = Put(key=b"a", value=noise(100_000))
    entries = [
        batch(Put(key=b"a", value=noise(100_000), lease=99)),
        batch(txn([rpc_pb2.Compare(key=b"a", version=7)], success=[large])),
        batch(txn(success=[large, Put(key=b"b", lease=99)])),
        raw_batch([(OPAQUE, noise(100_000))]),
    ]
    for entry in entries:
        before = sys.getrefcount(entry)
        apply(store, entry)
        assert sys.getrefcount(entry) == before
    cut = put_in_entry(noise(100_000))[:-1]
    before = sys.getrefcount(cut)
    with pytest.raises(ValueError, match="passes the end"):
        apply(store, cut)
    assert sys.getrefcount(cut) == before
    assert store.revision == 1
    assert store.table_bytes < SMALL_THINGS


def test_a_transaction_puts_large_values_too(store: MvccStore) -> None:
    """In the branch taken, nested or not; written and read in one command."""
    value = noise(150_000)
    read = rpc_pb2.RangeRequest(key=b"a")
    nested = txn(success=[Put(key=b"a", value=value), read])
    answers = store.apply(1, 5, batch(txn(success=[nested, read])), True)
    assert answers is not None
    assert isinstance(answers[0], bytes)
    churn()
    response = rpc_pb2.TxnResponse.FromString(answers[0])
    assert response.responses[1].response_range.kvs[0].value == value
    assert Driver(store).get(b"a").value == value


def test_kept_bytes_make_a_flush_due(tmp_path: Path, gate: Gate) -> None:
    """Not the values alone, which are half of them: memory is what bounds a table."""
    store = open_store(tmp_path, flush_pool=gate.pool, table_bytes_max=4 << 20)
    entries = [put_in_entry(noise(300_000, seed), 600_000) for seed in range(4)]
    running = []
    for entry in entries:
        apply(store, entry)
        running.append(store.flush_running)
    assert running == [False, False, False, True]
    assert store.table_bytes >= 4 * 600_000
    gate.opened.set()
    wait_for_flush(store)
    assert store.flushed_index == 4
    store.close()


@pytest.mark.parametrize("way", ["flush", "thread", "close"])
def test_memory_is_given_back_with_its_table(tmp_path: Path, gate: Gate, way: str) -> None:
    store = open_store(tmp_path, flush_pool=gate.pool)
    entries = [put_in_entry(noise(100_000, seed)) for seed in range(5)]
    before = references(entries)
    kept = [count + 1 for count in before]
    apply(store, *entries)
    assert references(entries) == kept
    if way == "thread":
        store.maybe_flush(force=True)
        assert references(entries) == kept
        gate.opened.set()
        wait_for_flush(store)
    elif way == "flush":
        store.flush()
    gate.opened.set()
    if way == "close":
        store.close()
    assert references(entries) == before
    store.close()


class Twins:
    """The store, and its plain twin that holds everything: they must read alike at any time."""

    def __init__(self, native: MvccStore) -> None:
        self.native = native
        self.plain = MvccStoreReference(cluster_id=CLUSTER_ID, member_id=MEMBER_ID)

    def apply(self, *messages: Any) -> None:
        """Apply an entry; the native store has the only reference to its bytes afterwards."""
        index = self.plain.applied_index + 1
        answers = self.plain.apply(index, 5, batch(*messages), True)
        assert self.native.apply(index, 5, batch(*messages), True) == answers

    def compare(self) -> None:
        """Read every revision, its events and what was before them."""
        churn()
        for revision in range(2, self.plain.revision + 1):
            request = rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0", revision=revision)
            data = request.SerializeToString()
            assert self.native.range(data, 5) == self.plain.range(data, 5)
        by_value = rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0", sort_target="VALUE")
        data = by_value.SerializeToString()
        assert self.native.range(data, 5) == self.plain.range(data, 5)
        events = self.plain.events(2, 1000, 1 << 30)
        assert self.native.events(2, 1000, 1 << 30) == events
        for main, key, _ in events:
            assert self.native.previous_kv(key, main) == self.plain.previous_kv(key, main)


def write_life(twins: Twins, seed: int) -> None:
    """Make, overwrite, read, delete and make again, with values of all kinds."""
    large, larger, edge = noise(70_000, seed), noise(300_000, seed), noise(KEPT_MIN, seed)
    twins.apply(Put(key=b"a", value=large))
    twins.apply(Put(key=b"a", value=larger, prev_kv=True))
    twins.apply(Put(key=b"b", value=b"small"), Put(key=b"c", value=edge))
    twins.apply(Put(key=b"d", value=large), Put(key=b"e", value=edge))
    twins.apply(Delete(key=b"a", prev_kv=True))
    compare = rpc_pb2.Compare(key=b"d", value=large, target="VALUE")
    twins.apply(
        rpc_pb2.TxnRequest(
            compare=[compare],
            success=[op(Put(key=b"a", value=larger)), op(rpc_pb2.RangeRequest(key=b"a"))],
        )
    )
    twins.apply(Put(key=b"c", ignore_value=True, prev_kv=True))


def test_large_values_are_read_alike_from_every_layer(tmp_path: Path, gate: Gate) -> None:
    """Held by nobody else: in the table, under a running flush, on disk, after a restart."""
    twins = Twins(open_store(tmp_path, flush_pool=gate.pool))
    write_life(twins, 1)
    twins.compare()
    in_memory = twins.native.hash_kv(0)
    twins.native.maybe_flush(force=True)
    assert twins.native.flush_running
    assert twins.native.hash_kv(0) == in_memory
    write_life(twins, 2)
    twins.compare()
    two_tables = twins.native.hash_kv(0)
    gate.opened.set()
    wait_for_flush(twins.native)
    twins.compare()
    twins.native.flush()
    twins.compare()
    twins.native.close()
    twins.native = open_store(tmp_path)
    twins.compare()
    assert twins.native.hash_kv(0) == two_tables
    twins.native.close()
    assert mem_table.live_tables == 0


def test_a_thread_writes_large_values_while_the_loop_puts_more(tmp_path: Path) -> None:
    """Tables are freed one after the other, each when it is on disk and no earlier."""
    store = Driver(open_store(tmp_path, table_bytes_max=4 << 20))
    for number in range(60):
        store.put(b"key%d" % (number % 7), noise(250_000, number))
        if number % 3 == 0:
            kv = store.get(b"key%d" % (number // 2 % 7))
            assert kv.value == noise(250_000, kv.mod_revision - 2)
    assert store.store.flushed_index > 0
    store.store.flush()
    for number in range(60):
        kv = store.get(b"key%d" % (number % 7), revision=number + 2)
        assert kv.value == noise(250_000, number)
    store.store.close()
