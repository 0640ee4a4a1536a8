"""A full disk (a small tmpfs) stops log, state and snapshot with errors that say so."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv._native.log_store import LogStore
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.snapshot_writer import SnapshotWriter
from raftkv.errors import StoreIOError
from raftkv.raft.messages import Entry, EntryKind, HardState
from raftkv.storage.data_dir import DataDirectory
from raftkv.storage.errors import DataDirectoryError, LogFullError, LogIOError
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, Driver

DISK_BYTES = 4 << 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: no small disk to fill")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "disk"
    target.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(target)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("NO MOUNT ALLOWED HERE: a full disk is not tested")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def fill_up(disk: Path, leave: int = 0) -> None:
    """Take all the room but `leave` bytes."""
    room = os.statvfs(disk)
    with (disk / "ballast").open("wb") as ballast:
        ballast.write(bytes(room.f_bavail * room.f_bsize - leave))


def open_state(path: Path, member_id: int = MEMBER_ID) -> Driver:
    return Driver(
        MvccStore(str(path), cluster_id=CLUSTER_ID, member_id=member_id, map_size=1 << 30)
    )


def test_a_log_on_a_full_disk_keeps_what_it_acknowledged(disk: Path) -> None:
    log = LogStore(str(disk / "log"))
    acknowledged = 0

    def append_for_ever() -> None:
        nonlocal acknowledged
        while True:
            entry = Entry(1, acknowledged + 1, EntryKind.NORMAL, bytes(50_000))
            log.append([entry], HardState(1, 1, acknowledged))
            acknowledged += 1

    with pytest.raises(LogFullError, match="free disk space"):
        append_for_ever()
    with pytest.raises(LogIOError, match="it has failed"):
        log.append([Entry(1, acknowledged + 1, EntryKind.NORMAL, b"")])
    log.close()
    again = LogStore(str(disk / "log"))
    assert 10 < again.last_index == acknowledged
    assert again.hard_state().commit == acknowledged - 1
    again.close()


def test_a_state_on_a_full_disk_stops_and_keeps_what_it_flushed(disk: Path) -> None:
    store = open_state(disk / "state")
    store.put(b"kept", b"v")
    store.store.flush()
    for number in range(6):
        store.put(b"key%d" % number, bytes(1 << 20))
    with pytest.raises(StoreIOError) as caught:
        store.store.flush()
    assert caught.value.errno in (errno.ENOSPC, errno.EIO)
    with pytest.raises(StoreIOError, match="has failed"):
        store.keys()
    store.store.close()
    again = open_state(disk / "state")
    assert again.keys() == [b"kept"]
    again.store.close()


def test_a_snapshot_that_does_not_fit_leaves_the_state_alone(disk: Path, tmp_path: Path) -> None:
    sender = open_state(tmp_path / "sender", 77)
    for number in range(8):
        sender.put(b"key%d" % number, bytes(1 << 20))
    reader = sender.store.snapshot_open()
    store = open_state(disk / "state")
    store.put(b"kept", b"v")
    store.store.flush()
    writer = SnapshotWriter(
        store.store.path, cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=1 << 30
    )

    def receive() -> None:
        while chunk := reader.read(1 << 20):
            writer.write(chunk)

    with pytest.raises(StoreIOError):
        receive()
    writer.discard()
    writer.close()
    store.put(b"more", b"v")
    store.store.flush()
    assert store.keys() == [b"kept", b"more"]
    store.store.close()
    sender.store.close()


def test_nothing_is_begun_on_a_full_disk(disk: Path) -> None:
    fill_up(disk)
    with pytest.raises(DataDirectoryError, match="No space left"):
        DataDirectory.open(disk / "data")
    with pytest.raises(LogFullError):
        LogStore(str(disk / "log"))
    with pytest.raises(StoreIOError, match="No space left"):
        open_state(disk / "state")
    (disk / "ballast").unlink()
    DataDirectory.open(disk / "data").close()
    LogStore(str(disk / "log")).close()
    open_state(disk / "state").store.close()
