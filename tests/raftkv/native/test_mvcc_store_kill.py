"""A store that is killed at any moment comes back as it was at some applied index, exactly."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raftkv._native.mvcc_store import MvccStore
from raftkv._native.mvcc_store_reference import MvccStoreReference
from raftkv.pb.etcd import rpc_pb2
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, Driver, batch, txn

KILLS = 4
ROOT = Path(__file__).resolve().parents[3]


def entry(index: int) -> bytes:
    """The entry at an index: the same in every process."""
    chance = random.Random(index)
    key = b"key%d" % chance.randrange(200)
    if index == 1:
        return batch(rpc_pb2.LeaseGrantRequest(ID=1, TTL=60))
    if index % 50 == 0:
        return batch(rpc_pb2.CompactionRequest(revision=max(index - 300, 0)))
    if index % 7 == 0:
        return batch(rpc_pb2.DeleteRangeRequest(key=key, range_end=key + b"5"))
    put = rpc_pb2.PutRequest(
        key=key, value=bytes(chance.randrange(2000)), lease=int(index % 3 == 0)
    )
    return batch(put, txn(success=[rpc_pb2.PutRequest(key=b"last", value=b"%d" % index)]))


def open_store(path: str) -> MvccStore:
    return MvccStore(
        path, cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=1 << 30, table_bytes_max=1 << 18
    )


def run_until_killed(path: str) -> None:
    """Apply entries for ever, as a member does between two turns of its loop."""
    store = open_store(path)
    while True:
        if store.table_full:
            store.flush()
        index = store.applied_index + 1
        store.apply(index, 5, entry(index), False)
        print(store.flushed_index, flush=True)


@pytest.mark.slow
def test_a_killed_store_comes_back_at_a_flushed_index(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    reference = MvccStoreReference(cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
    chance = random.Random(3)
    before = 0
    for _ in range(KILLS):
        command = [sys.executable, "-m", "tests.raftkv.native.test_mvcc_store_kill", path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            reported = before
            while reported <= before:
                reported = int(process.stdout.readline())
            time.sleep(chance.random() / 50)  # not a wait: the moment of the kill is the input
            process.send_signal(signal.SIGKILL)
        store = open_store(path)
        assert store.applied_index >= reported > before
        before = store.applied_index
        while reference.applied_index < before:
            index = reference.applied_index + 1
            reference.apply(index, 5, entry(index), False)
        everything = rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0").SerializeToString()
        assert store.range(everything, 5) == reference.range(everything, 5)
        assert store.lease_keys(1) == reference.lease_keys(1)
        first = max(store.compact_revision, 0)
        assert store.events(first, 1 << 40, 1 << 40) == reference.events(first, 1 << 40, 1 << 40)
        assert Driver(store).get(b"last", revision=first) == Driver(reference).get(
            b"last", revision=first
        )
        store.close()


if __name__ == "__main__":
    run_until_killed(sys.argv[1])
