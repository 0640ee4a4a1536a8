"""Runs under the shim: the life of one member's disk, recorded, with marks of what is promised."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from raftkv._native.log_store import LogStore
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.snapshot_writer import SnapshotWriter
from raftkv.pb.etcd import rpc_pb2
from raftkv.raft.messages import Entry, EntryKind, HardState
from raftkv.storage.data_dir import DataDirectory
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, batch, txn
from tests.raftkv.storage.faulty_disk import FaultyDisk

ENTRIES = 120
SNAPSHOT_INDEX = 160
LAST_INDEX = 200
FLUSH_EVERY = 17
TERM = 5
MAP_BYTES = 1 << 30
SEGMENT_BYTES = 16 << 10
"""So that segments are often begun, dropped and used again."""
KEYS_OF_STEPS = 1400
"""Keys of a table that takes two steps: see `state_writer.pxd`."""


def data_of(index: int) -> bytes:
    """The entry at an index, the same in every process."""
    chance = random.Random(index)
    key = b"key%d" % chance.randrange(60)
    if index == 1:
        return batch(rpc_pb2.LeaseGrantRequest(ID=1, TTL=60))
    if index == 70:
        return batch(*(step_put(number) for number in range(index, KEYS_OF_STEPS)))
    if index % 20 == 0:
        return batch(rpc_pb2.CompactionRequest(revision=max(index - 30, 2)))
    if index % 7 == 0:
        return batch(rpc_pb2.DeleteRangeRequest(key=key, range_end=key + b"5"))
    put = rpc_pb2.PutRequest(
        key=key, value=bytes([index]) * chance.randrange(3000), lease=int(index % 3 == 0)
    )
    return batch(put, txn(success=[rpc_pb2.PutRequest(key=b"last", value=b"%d" % index)]))


def step_put(number: int) -> rpc_pb2.PutRequest:
    return rpc_pb2.PutRequest(key=b"step%d" % number, value=b"v", lease=int(number % 9 == 0))


def entry(index: int) -> Entry:
    return Entry(TERM, index, EntryKind.NORMAL, data_of(index))


def open_state(path: str, member_id: int = MEMBER_ID) -> MvccStore:
    return MvccStore(path, cluster_id=CLUSTER_ID, member_id=member_id, map_size=MAP_BYTES)


def live(disk: FaultyDisk, log: LogStore, store: MvccStore, last: int) -> None:
    """Append, apply, flush, compact and trim up to an index; all as a member does, in turns."""
    while store.applied_index < last:
        first = log.last_index + 1
        count = 1 + first % 4
        found = [entry(index) for index in range(first, min(first + count, last + 1))]
        if first % 3:
            log.append(found, HardState(TERM, 1, first - 1))
        else:
            log.begin_append(found, HardState(TERM, 1, first - 1))
            log.end_append()
        disk.mark(f"log {log.last_index}")
        for one in found:
            store.apply(one.index, TERM, one.data, False)
        if store.applied_index // FLUSH_EVERY > store.flushed_index // FLUSH_EVERY:
            store.maybe_flush(force=True)
            while store.flush_running:
                pass
            store.maybe_flush()
            disk.mark(f"flushed {store.flushed_index}")
            while store.compact_step(9):
                pass
            disk.mark(f"flushed {store.flushed_index}")
            log.truncate_prefix(max(store.flushed_index - 10, 0))


def install(disk: FaultyDisk, log: LogStore, store: MvccStore, chunks: list[bytes]) -> None:
    writer = SnapshotWriter(
        store.path, cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=MAP_BYTES
    )
    for chunk in chunks:
        writer.write(chunk)
    disk.mark("installing")
    store.install(writer)
    disk.mark(f"flushed {store.flushed_index}")
    log.reset(writer.index, writer.term, HardState(TERM, 1, writer.index))
    disk.mark(f"log {writer.index}")
    writer.close()


def chunks_of_another(path: str) -> list[bytes]:
    """A snapshot of a member that is ahead."""
    store = open_state(path, 77)
    for index in range(1, SNAPSHOT_INDEX + 1):
        store.apply(index, TERM, data_of(index), False)
    reader = store.snapshot_open()
    chunks = []
    while chunk := reader.read(20_000):
        chunks.append(chunk)
    store.close()
    return chunks


def main() -> None:
    root, outside = sys.argv[1:]
    chunks = chunks_of_another(os.path.join(outside, "sender"))
    disk = FaultyDisk(root)
    disk.record(os.path.join(outside, "recording"))
    os.mkdir(os.path.join(root, "disk"))
    directory = DataDirectory.open(Path(root) / "disk" / "data")
    disk.mark("directory")
    log = LogStore(str(directory.log_path), SEGMENT_BYTES)
    log.put_metadata({"member_id": b"1"})
    disk.mark("identity")
    store = open_state(str(directory.state_path))
    disk.mark("state")
    live(disk, log, store, ENTRIES)
    install(disk, log, store, chunks)
    live(disk, log, store, LAST_INDEX)
    store.close()
    log.close()
    directory.close()


if __name__ == "__main__":
    main()
