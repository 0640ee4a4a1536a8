"""The native store's disk: what survives, what is refused, what compaction gives back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftkv._native import mem_table, mvcc_store
from raftkv._native.mvcc_store import MvccStore
from raftkv.errors import ErrorCode, StoreCorruptError, StoreError, StoreIOError
from raftkv.pb.etcd import rpc_pb2
from raftkv.storage.state_hash import hash_state
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, Driver, batch

Open = Callable[..., Driver]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    """Opens stores in one directory unless told; all are closed, and their memory counted."""
    opened: list[MvccStore] = []

    def open_(name: str = "state", **options: Any) -> Driver:
        options = {
            "cluster_id": CLUSTER_ID,
            "member_id": MEMBER_ID,
            "map_size": 1 << 30,
            **options,
        }
        opened.append(MvccStore(str(tmp_path / name), **options))
        return Driver(opened[-1])

    yield open_
    for store in opened:
        store.close()
    assert mvcc_store.live_stores == 0
    assert mem_table.live_tables == 0


def wait_for_flush(store: MvccStore) -> None:
    deadline = time.monotonic() + 10
    while store.flush_running:
        assert time.monotonic() < deadline, "the flush does not end"
        time.sleep(0.001)
    store.maybe_flush()


def test_a_restart_brings_back_what_was_flushed_and_no_more(open_store: Open) -> None:
    """The applied index travels with the data, so the log knows what to replay."""
    first = open_store()
    first.grant(7, 30)
    first.put(b"a", b"1", lease=7)
    first.put(b"b", b"2")
    first.compact(2)
    first.store.put_member_record(b"alarm", b"none")
    first.store.put_member_record(b"gone", b"x")
    first.store.put_member_record(b"gone", None)
    first.store.flush()
    flushed = first.store.applied_index
    lost = batch(rpc_pb2.PutRequest(key=b"c"))
    first.store.apply(flushed + 1, 5, lost, False)
    first.store.close()

    second = open_store()
    assert (second.store.applied_index, second.store.flushed_index) == (flushed, flushed)
    assert second.store.applied_term == 5
    assert (second.store.revision, second.store.compact_revision) == (3, 2)
    assert second.keys() == [b"a", b"b"]
    assert (second.store.lease_ttl(7), second.store.lease_keys(7)) == (30, [b"a"])
    assert second.store.member_records() == {b"alarm": b"none"}
    second.store.apply(flushed + 1, 5, lost, False)
    assert second.keys() == [b"a", b"b", b"c"]


def test_a_full_table_is_flushed_behind_the_loop_and_reads_see_all_layers(
    open_store: Open,
) -> None:
    store = open_store(table_bytes_max=1 << 20)
    native = store.store
    value = b"v" * 1000
    for number in range(3000):
        store.put(b"key%d" % (number % 500), value + b"%d" % number)
    wait_for_flush(native)
    assert 0 < native.flushed_index <= native.applied_index
    assert native.table_bytes < 4 << 20
    assert store.range(count_only=True).count == 500
    for number in (2500, 2999):
        kv = store.get(b"key%d" % (number % 500))
        assert (kv.value, kv.version) == (value + b"%d" % number, number // 500 + 1)
    assert store.get(b"key0", revision=2).version == 1
    assert [main for main, _, _ in native.events(2, 3001, 1 << 40)] == list(range(2, 3002))


def test_the_table_pushes_back_while_the_flush_before_it_runs(open_store: Open) -> None:
    """A full table over a running flush says so; afterwards it is flushed in its turn."""
    store = open_store(table_bytes_max=2)
    pushed_back = 0
    deadline = time.monotonic() + 10
    while not pushed_back:
        assert time.monotonic() < deadline
        store.put(b"a", b"v" * 100_000)
        pushed_back += store.store.table_full
    while store.store.table_full:
        assert time.monotonic() < deadline
        store.store.maybe_flush()
    store.store.flush()
    assert store.store.table_bytes == 0
    assert store.store.flushed_index == store.store.applied_index


def test_the_directory_is_for_its_owner_alone(open_store: Open, tmp_path: Path) -> None:
    open_store()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "data.mdb").stat().st_mode & 0o777 == 0o600


def test_another_members_directory_is_refused(open_store: Open) -> None:
    open_store().store.close()
    with pytest.raises(StoreCorruptError, match="belongs to member b1 of cluster c1"):
        open_store(member_id=0xB2)
    with pytest.raises(StoreCorruptError, match="not to member b1 of cluster c2"):
        open_store(cluster_id=0xC2)


def test_a_directory_serves_one_store_at_a_time(open_store: Open) -> None:
    open_store()
    with pytest.raises(StoreIOError, match="in use by a running member"):
        open_store()


@pytest.mark.parametrize("content", [b"not a database " * 1000, bytes(8192)])
def test_a_foreign_file_is_refused(open_store: Open, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "data.mdb").write_bytes(content)
    with pytest.raises(StoreIOError):
        open_store()


def test_a_file_that_was_cut_off_is_refused_before_it_kills(
    open_store: Open, tmp_path: Path
) -> None:
    store = open_store()
    for number in range(100):
        store.put(b"key%d" % number, b"v" * 1000)
    store.store.flush()
    store.store.close()
    path = tmp_path / "state" / "data.mdb"
    os.truncate(path, path.stat().st_size - 8 * 4096)
    with pytest.raises(StoreCorruptError, match="cut off"):
        open_store()


def test_a_full_map_is_an_error_that_stops_and_loses_nothing_flushed(open_store: Open) -> None:
    store = open_store(map_size=1 << 20)
    store.put(b"kept", b"v")
    store.store.flush()
    for number in range(2000):
        store.put(b"key%d" % number, b"v" * 1000)
    with pytest.raises(StoreIOError, match="cannot flush"):
        store.store.flush()
    for call in (store.store.flush, store.store.maybe_flush, store.keys):
        with pytest.raises(StoreIOError, match="has failed"):
            call()
    store.store.close()
    again = open_store(map_size=1 << 30)
    assert again.keys() == [b"kept"]
    assert again.store.applied_index == 1


def test_compaction_gives_pages_back_in_small_steps_and_resumes(open_store: Open) -> None:
    store = open_store()
    for number in range(2000):
        store.put(b"key%d" % (number % 10), b"v" * 1000)
    store.delete(b"key3")
    store.store.flush()
    _, before = store.store.db_size()
    store.compact(2002)
    steps = 1
    while store.store.compact_step(300):
        steps += 1
        if steps == 3:
            store.store.close()
            store = open_store()
    _, after = store.store.db_size()
    assert steps >= 6
    assert after < before // 10
    assert store.store.compacted_revision == 2002
    assert store.range(count_only=True).count == 9
    assert store.store.events(2002, 2002, 1 << 20)[0][1] == b"key3", "its tombstone is kept"
    store.put(b"other")
    store.compact(2003)
    while store.store.compact_step(300):
        pass
    assert store.get(b"key3", revision=2003) is None


def test_background_compaction_runs_on_the_flusher(open_store: Open) -> None:
    store = open_store()
    for _ in range(50):
        store.put(b"a", b"v")
    store.compact(51)
    deadline = time.monotonic() + 10
    while store.store.compacted_revision < 51:
        assert time.monotonic() < deadline
        wait_for_flush(store.store)
    assert store.get(b"a").version == 50


def test_hashes_agree_however_the_members_flush_and_compact(open_store: Open) -> None:
    """One never flushes; one flushes each time; one has worked off its compaction."""
    stores = [open_store(f"member{n}") for n in range(3)]
    for number in range(40):
        for n, store in enumerate(stores):
            store.put(b"key%d" % (number % 7), b"%d" % number)
            if number % 5 == 0:
                store.delete(b"key%d" % (number % 3))
            if n:
                store.store.flush()
    assert len({store.store.hash_kv(30) for store in stores}) == 1
    for store in stores:
        store.compact(25)
    while stores[2].store.compact_step(5):
        pass
    hashes = {store.store.hash_kv(0) for store in stores}
    assert len(hashes) == 1
    stores[0].put(b"key1", b"different")
    stores[1].put(b"key1", b"differenT")
    assert stores[0].store.hash_kv(0) != stores[1].store.hash_kv(0)
    for revision, code in ((24, ErrorCode.COMPACTED), (999, ErrorCode.FUTURE_REV)):
        with pytest.raises(StoreError) as caught:
            stores[0].store.hash_kv(revision)
        assert caught.value.code == code


@pytest.mark.parametrize("records_max", [1, 3, 1000])
def test_a_hash_in_steps_is_the_hash_at_once(open_store: Open, records_max: int) -> None:
    """While it goes on, writes are applied, flushed and compacted on disk."""
    store = open_store()
    for number in range(60):
        store.txn(success=[rpc_pb2.PutRequest(key=b"%d/%d" % (number % 7, i)) for i in range(3)])
        if number % 20 == 0:
            store.store.flush()
    store.compact(20)
    expected = store.store.hash_kv(50)
    work = store.store.hash_begin(50)
    steps = 1
    while not store.store.hash_step(work, records_max):
        steps += 1
        store.put(b"key%d" % steps, b"new")
        if steps % 5 == 0:
            store.store.maybe_flush(force=True)
        if steps % 7 == 0:
            store.store.compact_step(2)
    assert (work.value, work.compact_revision, work.revision) == expected
    assert steps >= min(49 * 3 // records_max, 40) or records_max == 1000


def test_a_compaction_during_a_hash_begins_it_anew_or_ends_it(open_store: Open) -> None:
    store = open_store()
    for number in range(30):
        store.put(b"key%d" % (number % 5), b"%d" % number)
    work = store.store.hash_begin(20)
    assert not store.store.hash_step(work, 10)
    store.compact(15)
    while not store.store.hash_step(work, 3):
        pass
    assert (work.value, work.compact_revision, work.revision) == store.store.hash_kv(20)
    work = store.store.hash_begin(20)
    store.compact(25)
    with pytest.raises(StoreError) as caught:
        store.store.hash_step(work, 3)
    assert caught.value.code == ErrorCode.COMPACTED


async def test_a_loop_goes_on_while_a_state_is_hashed(open_store: Open) -> None:
    store = open_store()
    for number in range(3000):
        store.put(b"key%d" % number)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    assert await hash_state(store.store, 0) == store.store.hash_kv(0)
    counting.cancel()
    assert turns >= 2


def test_keys_longer_than_lmdbs_keep_their_order_and_their_leases(open_store: Open) -> None:
    store = open_store()
    store.grant(7)
    prefix = b"p" * 480
    keys = [prefix[:-1], prefix, prefix + b"\0", prefix + b"a", prefix + b"a" * 5000, prefix + b"b"]
    keys += [b"p" * 479 + b"q", b"q" * 600]
    for key in reversed(keys):
        store.put(key, key[-3:], lease=7)
        store.store.flush()
    assert store.keys() == keys
    assert store.store.lease_keys(7) == sorted(keys)
    assert [kv.key for kv in store.range(prefix + b"a", prefix + b"b").kvs] == keys[3:5]
    store.put(prefix + b"a", b"2")
    store.delete(prefix + b"\0")
    store.store.flush()
    store.compact(store.store.revision)
    store.put(b"later")
    store.compact(store.store.revision)
    while store.store.compact_step(3):
        pass
    assert store.get(prefix + b"a").version == 2
    keys.remove(prefix + b"\0")
    assert store.keys() == [b"later", *keys]
    keys.remove(prefix + b"a")
    assert store.store.lease_keys(7) == sorted(keys)


def test_a_closed_store_says_so(open_store: Open) -> None:
    store = open_store().store
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.range(b"\x0a\x01a", 1),
        lambda: store.apply(1, 1, batch(), True),
        lambda: store.flush(),
        lambda: store.maybe_flush(),
        lambda: store.events(1, 2, 3),
        lambda: store.lease_keys(1),
        lambda: store.db_size(),
        lambda: store.previous_kv(b"a", 3),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()


def test_an_open_reads_no_keys(open_store: Open) -> None:
    """Restart cost does not grow with keys: 20,000 of them open as fast as none."""
    store = open_store()
    for first in range(0, 20000, 1000):
        store.apply(
            *(rpc_pb2.PutRequest(key=b"%08d" % (first + n), value=b"v" * 64) for n in range(1000))
        )
    store.store.flush()
    store.store.close()
    started = time.perf_counter()
    again = open_store()
    assert time.perf_counter() - started < 0.25
    assert again.range(count_only=True).count == 20000


def test_a_file_that_lacks_free_pages_alone_is_whole(tmp_path: Path) -> None:
    """LMDB does not write what one transaction took at the end and gave back."""
    path = tmp_path / "state"

    def open_it() -> Driver:
        return Driver(
            MvccStore(str(path), cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=1 << 30)
        )

    store = open_it()
    store.put(b"stays", b"v")
    store.store.flush()
    store.put(b"goes", bytes(200_000))
    store.store.flush()
    store.delete(b"goes")
    store.compact(store.store.revision)
    while store.store.compact_step(100):
        pass
    store.store.close()
    file = path / "data.mdb"
    whole = file.stat().st_size
    os.truncate(file, whole - 5 * 4096)
    store = open_it()
    assert [kv.key for kv in store.range().kvs] == [b"stays"]
    store.store.close()
    assert file.stat().st_size >= whole
