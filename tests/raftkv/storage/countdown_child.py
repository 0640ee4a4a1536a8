"""Runs under the shim: fails the n-th call of one operation, n = 1, 2, 3 ... until it succeeds.

After each failure the directory is opened again: it must be as before the operation or as after it.
Prints how many calls the operation makes and how many of the failed runs still took effect.
"""

from __future__ import annotations

import errno
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raftkv._native.log_store import LogStore
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.snapshot_writer import SnapshotWriter
from raftkv.errors import StoreCorruptError, StoreIOError
from raftkv.raft.messages import Entry, EntryKind, HardState
from raftkv.storage.data_dir import DataDirectory
from raftkv.storage.errors import CorruptLogError, StorageError
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, MEMORY_DISK, Driver
from tests.raftkv.storage.faulty_disk import (
    FAIL_ALWAYS,
    FAIL_LATE,
    FAIL_ONCE,
    SHORT_WRITE,
    FaultyDisk,
)

CALLS_MAX = 500
MAP_BYTES = 1 << 30
SEGMENT_BYTES = 16 << 10
KEYS_OF_STEPS = 2500
"""Keys of a table that takes three steps: see `state_writer.pxd`."""

Picture = Any


class Operation:
    """One thing done to a directory. `see` is all that a reader could notice of it."""

    asynchronous = True
    """Whether the kernel has asynchronous writes."""

    def prepare(self, path: Path) -> None:
        """Make what the operation begins with."""

    def run(self, path: Path, arm: Callable[[], None]) -> None:
        """Open, arm, do it, close."""
        raise NotImplementedError

    def see(self, path: Path) -> Picture:
        """Open without faults and look."""
        raise NotImplementedError


def entries(first: int, last: int, term: int) -> list[Entry]:
    return [
        Entry(
            term, index, EntryKind.NORMAL, b"%d of %d " % (index, term) + bytes(700 * (index % 9))
        )
        for index in range(first, last + 1)
    ]


class LogOperation(Operation):
    """Something done to a log with synced entries 1 to 30."""

    def prepare(self, path: Path) -> None:
        log = LogStore(str(path / "log"), SEGMENT_BYTES)
        for first in range(1, 30, 3):
            log.append(entries(first, first + 2, 1), HardState(1, 1, first))
        log.put_metadata({"member_id": b"1"})
        log.close()

    def do(self, log: LogStore) -> None:
        raise NotImplementedError

    def run(self, path: Path, arm: Callable[[], None]) -> None:
        log = LogStore(str(path / "log"), SEGMENT_BYTES)
        arm()
        try:
            self.do(log)
        except StorageError:
            try:
                log.append(entries(log.last_index + 1, log.last_index + 1, 9))
            except StorageError:
                raise
            raise AssertionError("a log whose disk failed takes entries") from None
        finally:
            log.close()

    def see(self, path: Path) -> Picture:
        log = LogStore(str(path / "log"), SEGMENT_BYTES)
        try:
            found = log.entries(log.first_index, log.last_index + 1, 1 << 40)
            return found, log.first_index, log.hard_state(), log.get_metadata("member_id")
        finally:
            log.close()


class LogAppend(LogOperation):
    def do(self, log: LogStore) -> None:
        log.append(entries(31, 60, 1), HardState(1, 1, 31))


class LogAppendInTwo(LogOperation):
    """Begun, with something else done meanwhile, and ended."""

    def do(self, log: LogStore) -> None:
        log.begin_append(entries(31, 60, 1), HardState(1, 1, 31))
        assert log.entries(30, 31, 1 << 40) == entries(30, 30, 1)
        assert log.last_index == 30, "it counts from its end on"
        log.end_append()


class LogAppendSynchronously(LogAppendInTwo):
    asynchronous = False


class LogReplaceTail(LogOperation):
    def do(self, log: LogStore) -> None:
        log.append(entries(11, 14, 2), HardState(2, 0, 10))


class LogTruncate(LogOperation):
    def do(self, log: LogStore) -> None:
        log.truncate_prefix(20)


class LogReset(LogOperation):
    def do(self, log: LogStore) -> None:
        log.reset(50, 3, HardState(3, 0, 50))


class LogCreate(LogAppend):
    def prepare(self, path: Path) -> None:
        pass

    def run(self, path: Path, arm: Callable[[], None]) -> None:
        arm()
        super().run(path, lambda: None)

    def do(self, log: LogStore) -> None:
        log.append(entries(1, 3, 1), HardState(1, 0, 0))


def open_state(path: Path, name: str = "state", member_id: int = MEMBER_ID) -> Driver:
    return Driver(
        MvccStore(str(path / name), cluster_id=CLUSTER_ID, member_id=member_id, map_size=MAP_BYTES)
    )


def fill(store: Driver, rounds: int) -> None:
    if 7 not in store.store.lease_ids():
        store.grant(7, 30)
    for number in range(rounds):
        store.put(b"key%d" % (number % 40), b"v" * (number * 37 % 900), lease=7 * (number % 2))
    store.put(b"big", bytes(20_000))
    store.delete(b"key3")
    store.store.put_member_record(b"members/1", b"%d" % rounds)


def see_state(store: Driver) -> Picture:
    native = store.store
    first = max(native.compact_revision, 0)
    return (
        native.applied_index,
        native.revision,
        native.compact_revision,
        [kv.SerializeToString() for kv in store.range().kvs],
        native.events(first, 1 << 40, 1 << 40),
        native.lease_keys(7),
        native.member_records(),
        native.hash_kv(0),
    )


class StateOperation(Operation):
    """Something done to a state with a few hundred revisions flushed."""

    def prepare(self, path: Path) -> None:
        store = open_state(path)
        fill(store, 200)
        store.store.flush()
        store.store.close()

    def do(self, store: Driver, arm: Callable[[], None]) -> None:
        raise NotImplementedError

    def run(self, path: Path, arm: Callable[[], None]) -> None:
        store = open_state(path)
        try:
            self.do(store, arm)
        except StoreIOError:
            self.must_be_dead(store)
            raise
        finally:
            store.store.close()

    def must_be_dead(self, store: Driver) -> None:
        for call in (store.range, store.store.flush, lambda: store.put(b"x")):
            try:
                call()
            except StoreIOError:
                continue
            raise AssertionError("a store whose disk failed serves on")

    def see(self, path: Path) -> Picture:
        store = open_state(path)
        try:
            return see_state(store)
        finally:
            store.store.close()


class Flush(StateOperation):
    def do(self, store: Driver, arm: Callable[[], None]) -> None:
        fill(store, 100)
        arm()
        store.store.flush()


class BackgroundFlush(StateOperation):
    def do(self, store: Driver, arm: Callable[[], None]) -> None:
        fill(store, 100)
        arm()
        store.store.maybe_flush(force=True)
        while store.store.flush_running:
            pass
        store.store.maybe_flush()


class FlushInSteps(StateOperation):
    """A table that takes several transactions: each fault is between or within two of them."""

    def prepare(self, path: Path) -> None:
        store = open_state(path)
        self.fill(store, b"old", 0)
        store.compact(store.store.revision - 10)
        store.store.flush()
        while store.store.compact_step(1 << 30):
            pass
        store.store.close()

    def fill(self, store: Driver, value: bytes, first: int) -> None:
        """Change keys in every way: new ones, old ones, twice, deleted, with a lease, long ones."""
        if 7 not in store.store.lease_ids():
            store.grant(7, 30)
        for number in range(first, first + KEYS_OF_STEPS):
            store.put(b"key%d" % number, value, lease=7 * (number % 3 == 0))
        for number in range(first, first + KEYS_OF_STEPS, 50):
            store.put(b"key%d" % number, value * 2, lease=7 * (number % 4 == 0))
            store.put(b"long/" + bytes(500) + b"%d" % (number % 400), value, lease=7)
            # Once each, in a bucket of this fill alone, which the last step makes.
            store.put(b"zone/" + value + bytes(500) + b"%d" % number, value)
            store.delete(b"key%d" % (number + 7))
            store.delete(b"long/" + bytes(500) + b"%d" % (number % 300))

    def do(self, store: Driver, arm: Callable[[], None]) -> None:
        self.fill(store, b"new", KEYS_OF_STEPS // 2)
        arm()
        store.store.maybe_flush(force=True)
        while store.store.flush_running:
            time.sleep(0.0001)
        store.store.maybe_flush()


class Compact(StateOperation):
    """Compaction changes nothing that can be seen, finished or not."""

    def prepare(self, path: Path) -> None:
        super().prepare(path)
        store = open_state(path)
        store.compact(150)
        store.store.flush()
        store.store.close()

    def do(self, store: Driver, arm: Callable[[], None]) -> None:
        arm()
        while store.store.compact_step(40):
            pass

    def see(self, path: Path) -> Picture:
        store = open_state(path)
        try:
            before = see_state(store)
            while store.store.compact_step(40):
                pass
            assert see_state(store) == before, "a resumed compaction changes what is seen"
            assert store.store.compacted_revision == 150
            return before
        finally:
            store.store.close()


class CreateState(StateOperation):
    def prepare(self, path: Path) -> None:
        pass

    def run(self, path: Path, arm: Callable[[], None]) -> None:
        arm()
        store = open_state(path)
        store.store.close()


class Install(StateOperation):
    """Receive a snapshot and install it."""

    def prepare(self, path: Path) -> None:
        super().prepare(path)
        sender = open_state(path, "sender", 77)
        fill(sender, 300)
        reader = sender.store.snapshot_open()
        while chunk := reader.read(25_000):
            (path / f"chunk{reader.next_chunk:04}").write_bytes(chunk)
        sender.store.close()
        shutil.rmtree(path / "sender")

    def do(self, store: Driver, arm: Callable[[], None]) -> None:
        writer = self.open_writer(store.store.path)
        try:
            arm()
            for chunk in sorted(Path(store.store.path).parent.glob("chunk*")):
                writer.write(chunk.read_bytes())
            store.store.install(writer)
        finally:
            writer.close()

    def must_be_dead(self, store: Driver) -> None:
        """A failed transfer leaves the live state alone; a failed installation does not."""

    def open_writer(self, path: str) -> SnapshotWriter:
        return SnapshotWriter(path, cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=MAP_BYTES)

    def see(self, path: Path) -> Picture:
        """Also: the transfer goes on from where it was, and then is the sender's state."""
        store = open_state(path)
        try:
            seen = see_state(store)
            writer = self.open_writer(store.store.path)
            for chunk in sorted(path.glob("chunk*"))[writer.next_chunk :]:
                writer.write(chunk.read_bytes())
            store.store.install(writer)
            assert store.store.member_records() == {b"members/1": b"300"}
            writer.close()
            return seen
        finally:
            store.store.close()


class CreateDirectory(Operation):
    def run(self, path: Path, arm: Callable[[], None]) -> None:
        arm()
        DataDirectory.open(path / "data").close()

    def see(self, path: Path) -> Picture:
        directory = DataDirectory.open(path / "data")
        directory.close()
        return sorted(found.name for found in (path / "data" / "member").iterdir())


OPERATIONS: dict[str, type[Operation]] = {
    operation.__name__: operation
    for operation in (
        LogAppend,
        LogAppendInTwo,
        LogAppendSynchronously,
        LogReplaceTail,
        LogTruncate,
        LogReset,
        LogCreate,
        Flush,
        BackgroundFlush,
        FlushInSteps,
        Compact,
        CreateState,
        Install,
        CreateDirectory,
    )
}


def attempt(
    operation: Operation, base: Path, disk: FaultyDisk, n: int, how: tuple[int, int]
) -> Any:
    """Fail call n; returns (whether it failed, what is seen afterwards, the error)."""
    path = base.parent / "attempt"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(base, path)
    raised: Exception | None = None
    try:
        operation.run(path, lambda: disk.arm(n, *how))
    except (StorageError, StoreIOError) as error:
        raised = error
    failed = disk.disarm() > 0
    assert not isinstance(raised, StoreCorruptError | CorruptLogError), f"call {n}: {raised}"
    assert raised is None or failed, f"call {n}: an error without a fault: {raised}"
    assert raised is None or str(raised), f"call {n}: an error that says nothing"
    return failed, operation.see(path), raised


def main() -> None:
    operation = OPERATIONS[sys.argv[1]]()
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        disk = FaultyDisk(folder)
        if not operation.asynchronous:
            disk.refuse_asynchronous()
        base = Path(folder).resolve() / "base"
        base.mkdir()
        operation.prepare(base)
        _, after, _ = attempt(operation, base, disk, CALLS_MAX, (errno.EIO, FAIL_ONCE))
        shutil.copytree(base, base.parent / "untouched")
        before = operation.see(base.parent / "untouched")
        for how in (
            (errno.EIO, FAIL_ONCE),
            (errno.ENOSPC, FAIL_ONCE),
            (errno.EIO, FAIL_ALWAYS),
            (errno.ENOSPC, SHORT_WRITE),
            (errno.EIO, FAIL_LATE),
        ):
            n = effects = hidden = 0
            failed = True
            while failed:
                n += 1
                assert n < CALLS_MAX
                failed, seen, raised = attempt(operation, base, disk, n, how)
                effects += failed and seen != before
                hidden += failed and raised is None
                allowed = [after] if raised is None else [before, after]
                assert seen in allowed, f"{how}, call {n}: neither before nor after: {raised}"
            print(f"{how}: {n - 1} calls, {effects} took effect, {hidden} without an error")


if __name__ == "__main__":
    main()
