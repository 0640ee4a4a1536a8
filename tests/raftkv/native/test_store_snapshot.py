"""Snapshots of the state: a consistent stream while writes go on, received in one piece or not."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftkv._native import mem_table, mvcc_store
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.snapshot_reader import SnapshotReader
from raftkv._native.snapshot_writer import SnapshotWriter
from raftkv.storage.errors import SnapshotError
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, Driver

Open = Callable[..., Driver]
OTHER_MEMBER_ID = MEMBER_ID + 1
CHUNK_BYTES = 2000


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    opened: list[MvccStore] = []

    def open_(name: str = "sender", member_id: int = MEMBER_ID, **options: Any) -> Driver:
        store = MvccStore(
            str(tmp_path / name),
            cluster_id=CLUSTER_ID,
            member_id=member_id,
            map_size=1 << 30,
            **options,
        )
        opened.append(store)
        return Driver(store)

    yield open_
    for store in opened:
        store.close()
    assert mvcc_store.live_stores == 0
    assert mem_table.live_tables == 0


@pytest.fixture
def sender(open_store: Open) -> Driver:
    """A store with a bit of everything."""
    store = open_store()
    store.grant(7, 30)
    for number in range(300):
        store.put(b"key%d" % (number % 90), b"v" * (number % 500), lease=7 * (number % 2))
    store.put(b"long" * 200, b"a key longer than LMDB's")
    store.put(b"big", bytes(100_000))
    store.delete(b"key3")
    store.compact(200)
    store.store.put_member_record(b"members/1", b"one")
    return store


def open_writer(path: str, member_id: int = OTHER_MEMBER_ID) -> SnapshotWriter:
    return SnapshotWriter(path, cluster_id=CLUSTER_ID, member_id=member_id, map_size=1 << 30)


def chunks_of(reader: SnapshotReader, bytes_max: int = CHUNK_BYTES) -> Iterator[bytes]:
    while chunk := reader.read(bytes_max):
        yield chunk


def whole_state(store: Driver) -> list[Any]:
    native = store.store
    first = max(native.compact_revision, 0)
    return [
        native.applied_index,
        native.applied_term,
        native.revision,
        native.compact_revision,
        [kv.SerializeToString() for kv in store.range().kvs],
        native.events(first, 1 << 40, 1 << 40),
        native.lease_ids(),
        native.lease_keys(7),
        native.member_records(),
        native.hash_kv(0),
    ]


def test_a_snapshot_brings_a_follower_to_the_same_state(open_store: Open, sender: Driver) -> None:
    follower = open_store("follower", OTHER_MEMBER_ID)
    follower.grant(9, 10)
    follower.put(b"stale", lease=9)
    follower.store.take_lease_changes()
    follower.store.put_member_record(b"stale", b"x")
    reader = sender.store.snapshot_open()
    assert (reader.index, reader.term) == (sender.store.applied_index, 5)
    assert (reader.revision, reader.compact_revision) == (sender.store.revision, 200)
    assert reader.records == {b"members/1": b"one"}
    expected = whole_state(sender)
    writer = open_writer(follower.store.path)
    sizes = []
    for chunk in chunks_of(reader):
        sender.put(b"key1", b"written while the snapshot is read")
        sender.store.flush()
        sizes.append(len(chunk))
        writer.write(chunk)
    assert sorted(sizes)[-2] <= CHUNK_BYTES
    assert writer.complete
    assert (writer.index, writer.revision) == (reader.index, reader.revision)
    follower.store.install(writer)
    writer.close()
    assert whole_state(follower) == expected
    assert sorted(follower.store.take_lease_changes()) == [("grant", 7, 30), ("revoke", 9, 0)]
    follower.put(b"after", b"1", lease=7)
    follower.store.flush()
    expected = whole_state(follower)
    follower.store.close()
    assert whole_state(open_store("follower", OTHER_MEMBER_ID)) == expected


def test_an_interrupted_transfer_goes_on_where_it_was(open_store: Open, sender: Driver) -> None:
    """The receiver restarts between chunks, and sometimes lost the last one's answer."""
    follower = open_store("follower", OTHER_MEMBER_ID)
    reader = sender.store.snapshot_open()
    chance = random.Random(1)
    sent = 0
    writer = open_writer(follower.store.path)
    while not writer.complete:
        if chance.random() < 0.3:
            writer.close()
            writer = open_writer(follower.store.path)
            assert reader.seek(writer.next_chunk, writer.digest)
        writer.write(reader.read(CHUNK_BYTES + chance.randrange(5)))
        sent += 1
    assert sent == reader.next_chunk > 20
    assert reader.seek(writer.next_chunk, writer.digest)
    assert reader.read(CHUNK_BYTES) == b""
    follower.store.install(writer)
    assert whole_state(follower) == whole_state(sender)
    writer.close()


def test_another_snapshot_is_not_mixed_in(open_store: Open, sender: Driver) -> None:
    follower = open_store("follower", OTHER_MEMBER_ID)
    first = sender.store.snapshot_open()
    writer = open_writer(follower.store.path)
    for _ in range(5):
        writer.write(first.read(CHUNK_BYTES))
    first.close()
    sender.put(b"key5", b"newer")
    second = sender.store.snapshot_open()
    assert not second.seek(writer.next_chunk, writer.digest)
    chunks = list(chunks_of(second))
    with pytest.raises(SnapshotError, match="not of the snapshot that began"):
        writer.write(chunks[5])
    for chunk in chunks:
        writer.write(chunk)
    follower.store.install(writer)
    assert follower.get(b"key5").value == b"newer"
    writer.close()


def test_damaged_chunks_are_refused_and_change_nothing(open_store: Open, sender: Driver) -> None:
    follower = open_store("follower", OTHER_MEMBER_ID)
    chunks = list(chunks_of(sender.store.snapshot_open()))
    writer = open_writer(follower.store.path)
    chance = random.Random(2)
    for number, chunk in enumerate(chunks):
        for _ in range(5):
            at = chance.randrange(len(chunk))
            damaged = chunk[:at] + bytes([chunk[at] ^ 1 << chance.randrange(8)]) + chunk[at + 1 :]
            with pytest.raises(SnapshotError):
                writer.write(damaged)
        repeated = [chunks[number - 1]] if number > 1 else []
        for wrong in [chunk[:-1], chunk + b"x", b"", chunk[:40], *repeated]:
            with pytest.raises(SnapshotError):
                writer.write(wrong)
        writer.write(chunk)
    follower.store.install(writer)
    assert whole_state(follower) == whole_state(sender)
    writer.close()


def test_what_may_not_be_installed_is_refused(open_store: Open, sender: Driver) -> None:
    follower = open_store("follower", OTHER_MEMBER_ID)
    reader = sender.store.snapshot_open()
    chunks = list(chunks_of(reader))
    writer = open_writer(follower.store.path)
    with pytest.raises(ValueError, match="not a complete snapshot"):
        follower.store.install(writer)
    for chunk in chunks:
        writer.write(chunk)
    while follower.store.applied_index <= reader.index:
        follower.put(b"ahead")
    with pytest.raises(ValueError, match="is behind"):
        follower.store.install(writer)
    writer.discard()
    assert not os.path.exists(writer.file)
    stranger = SnapshotWriter(follower.store.path, cluster_id=1, member_id=2)
    with pytest.raises(SnapshotError, match="of cluster c1, not 1"):
        stranger.write(chunks[0])
    for one in (writer, stranger):
        one.close()
        with pytest.raises(ValueError, match="closed"):
            one.write(chunks[0])


def test_closing_the_store_ends_its_snapshots(open_store: Open) -> None:
    store = open_store()
    store.put(b"a")
    reader = store.store.snapshot_open()
    reader.read(100)
    store.store.close()
    with pytest.raises(ValueError, match="closed"):
        reader.read(100)
    with pytest.raises(ValueError, match="closed"):
        reader.seek(0, bytes(32))
    reader.close()


def test_open_snapshots_are_bounded(open_store: Open) -> None:
    store = open_store().store
    readers = [store.snapshot_open() for _ in range(16)]
    with pytest.raises(ValueError, match="16 snapshots are open"):
        store.snapshot_open()
    readers.clear()
    store.snapshot_open().close()


def test_a_snapshot_begun_while_a_table_is_written_holds_no_part_of_it(open_store: Open) -> None:
    """The first sees the state of before, whatever is committed; the next waits for the flush."""
    store = open_store()
    store.put(b"key0", b"old")
    store.store.flush()
    for number in range(6000):
        store.put(b"key%d" % number, b"new")
    store.store.maybe_flush(True)
    assert store.store.flush_running
    before = store.store.snapshot_open(False)
    assert store.store.flush_running
    after = store.store.snapshot_open(False)
    assert not store.store.flush_running
    assert (before.revision, after.revision) == (2, 6002)
    rows = [b"".join(chunks_of(one)) for one in (before, after)]
    assert b"old" in rows[0]
    assert b"new" not in rows[0]
    assert rows[1].count(b"new") == 6000


def test_a_snapshot_is_read_in_a_thread_while_the_loop_writes(
    open_store: Open, sender: Driver
) -> None:
    expected = whole_state(sender)
    reader = sender.store.snapshot_open()
    chunks: list[bytes] = []
    thread = threading.Thread(target=lambda: chunks.extend(chunks_of(reader, 300)))
    thread.start()
    while thread.is_alive():
        sender.put(b"key2", b"x" * 1000)
        sender.store.maybe_flush(force=True)
    thread.join()
    follower = open_store("follower", OTHER_MEMBER_ID)
    writer = open_writer(follower.store.path)
    for chunk in chunks:
        writer.write(chunk)
    follower.store.install(writer)
    writer.close()
    assert whole_state(follower) == expected
