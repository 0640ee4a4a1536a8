"""Direct writes of the log: made where the file system takes them, done without where it does not.

On a real disk. That the log is the same in every case is what counts; see also `test_log_segments`.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv._native.log_store import LogStore
from raftkv._native.log_store_reference import read_log
from raftkv.raft.errors import LogCompacted
from raftkv.raft.messages import Entry, EntryKind, HardState
from raftkv.storage.log_segment import HEADER_BYTES
from tests.raftkv.storage.faulty_disk import run_child
from tests.raftkv.storage.test_log_segments import SMALL, frame_places, newest

SIZES = (0, 1, 300, 3900, 3976, 4000, 4072, 9000, 100, 70_000, 5)
"""Frames that end within a block, with it, and behind it."""


def entry(index: int, size: int) -> Entry:
    return Entry(1, index, EntryKind.NORMAL, bytes([index % 251]) * size)


def fill(log: LogStore, count: int) -> None:
    for index in range(log.last_index + 1, log.last_index + 1 + count):
        log.append([entry(index, SIZES[index % len(SIZES)])], HardState(1, 1, index))


def check(log: LogStore, last: int) -> None:
    assert log.last_index == last
    assert log.hard_state() == (HardState(1, 1, last) if last else HardState())
    found = log.entries(log.first_index, last + 1, 1 << 40)
    assert found == [
        entry(index, SIZES[index % len(SIZES)]) for index in range(log.first_index, last + 1)
    ]


def flags_of(path: Path) -> list[int]:
    """How this process has a file open, once for each time."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        if os.path.realpath(link) == str(path.resolve()):
            info = Path("/proc/self/fdinfo", link.name).read_text()
            found.append(int(info.split("flags:")[1].split()[0], 8))
    return found


def writer_is_direct(path: Path) -> bool:
    """Whether the newest segment is written directly; that it is synced is checked, too."""
    flags = [one for one in flags_of(newest(path)) if one & os.O_ACCMODE == os.O_RDWR]
    assert len(flags) == 1
    assert flags[0] & os.O_DSYNC
    return bool(flags[0] & os.O_DIRECT)


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Path]:
    """A file system without direct writes."""
    target = tmp_path / "refusing"
    target.mkdir()
    mount = ["mount", "-t", "ramfs", "ramfs", str(target)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("NO MOUNT ALLOWED HERE: a disk without direct writes is not tested")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def takes_direct_writes(path: Path) -> bool:
    try:
        os.close(os.open(path / "probe", os.O_RDWR | os.O_CREAT | os.O_DIRECT))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("segment_bytes", [SMALL, 1 << 20])
def test_a_log_goes_on_in_the_middle_of_a_block(tmp_path: Path, segment_bytes: int) -> None:
    """Restarts and kills between all sizes of frames: each begins with a part of a block."""
    direct = takes_direct_writes(tmp_path)
    path = tmp_path / "log"
    for round_ in range(25):
        log = LogStore(str(path), segment_bytes)
        check(log, 3 * round_)
        fill(log, 3)
        assert writer_is_direct(path) == direct
        check(log, 3 * round_ + 3)
        if round_ % 2:
            log.close()
        del log
    assert [one.index for one in read_log(path).entries] == list(range(1, 76))


def test_what_is_behind_the_last_frame_in_its_block_is_zero(tmp_path: Path) -> None:
    if not takes_direct_writes(tmp_path):
        pytest.skip("NO DIRECT WRITES HERE")
    path = tmp_path / "log"
    log = LogStore(str(path), SMALL)
    for _ in range(40):  # through files that are used again, too
        fill(log, 7)
        end = sum(frame_places(path)[-1]) + 7 & ~7
        assert not any(newest(path).read_bytes()[end : (end + 4095) & ~4095])
        log.truncate_prefix(log.last_index - 1)
    log.close()


def test_a_log_works_where_direct_writes_are_refused(refusing: Path) -> None:
    assert not takes_direct_writes(refusing)
    path = refusing / "log"
    log = LogStore(str(path), SMALL)
    fill(log, 50)
    assert not writer_is_direct(path)
    log.close()
    log = LogStore(str(path), SMALL)
    check(log, 50)
    log.close()


def test_a_segment_that_ends_within_a_block_is_not_written_directly(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogStore(str(path), SMALL + 1000)
    log.append([entry(1, 100)], HardState(1, 1, 1))
    assert not writer_is_direct(path)
    while newest(path).name == "0000000000000001.log":
        log.append([entry(log.last_index + 1, 100)])
    size = newest(path).stat().st_size
    log.close()
    assert size == SMALL + 1000 == newest(path).stat().st_size


@pytest.mark.parametrize("how", [(), ("disk",), ("kernel",)])
def test_a_direct_write_that_the_disk_refuses_is_made_again_without(how: tuple[str, ...]) -> None:
    """As on a disk with larger blocks: it says so at the write. Nothing is lost, nobody hears."""
    lines = run_child("refusing_child", *how).splitlines()
    assert lines == ["direct", "refused once", "not direct", "60 entries"]


def test_a_reader_beside_the_writer_sees_all_that_was_acknowledged(tmp_path: Path) -> None:
    """It reads through the page cache blocks that are written past it at the same moment."""
    log = LogStore(str(tmp_path / "log"))
    done = threading.Event()
    problems: list[BaseException] = []
    reads = 0

    def read() -> None:
        nonlocal reads
        while not done.is_set():
            last = log.last_index
            lo = max(log.first_index, last - 5)
            try:
                found = log.entries(lo, last + 1, 1 << 20)
                assert found == [
                    entry(index, SIZES[index % len(SIZES)]) for index in range(lo, last + 1)
                ]
                reads += 1
            except LogCompacted:
                continue
            except BaseException as error:
                problems.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(60):
        fill(log, 10)
        log.truncate_prefix(log.last_index - 8)
    done.set()
    reader.join()
    log.close()
    assert not problems
    assert reads > 20


def test_a_large_write_leaves_no_large_buffer(tmp_path: Path) -> None:
    """And what is behind it in the block goes on from the right bytes."""
    path = tmp_path / "log"
    log = LogStore(str(path))
    large = entry(1, 40 << 20)
    before = resident_bytes()
    log.append([large], HardState(1, 1, 1))
    assert resident_bytes() - before < 20 << 20
    log.append([entry(2, 10)], HardState(1, 1, 2))
    del log
    log = LogStore(str(path))
    assert log.entries(1, 3, 1 << 30) == [large, entry(2, 10)]
    assert frame_places(path)[0][0] == HEADER_BYTES
    log.close()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
