"""The Raft log in its segment files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftkv._native.log_store import LogStore
from raftkv.raft.errors import LogCompacted, LogUnavailable
from raftkv.raft.messages import Entry, EntryKind, HardState
from raftkv.storage.errors import CorruptLogError, StorageError

SMALL = 16 << 10
"""Bytes of a segment where many are wanted."""


def entries(lo: int, hi: int, term: int = 1, size: int = 10) -> list[Entry]:
    """Make entries of [lo, hi) that can be told apart."""
    return [
        Entry(term, i, EntryKind.NORMAL, b"%d/%d " % (term, i) + bytes(size)) for i in range(lo, hi)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LogStore]:
    log = LogStore(str(tmp_path / "log"))
    yield log
    log.close()


def test_a_new_log_is_empty_and_private(store: LogStore, tmp_path: Path) -> None:
    assert (store.first_index, store.last_index, store.term(0)) == (1, 0, 0)
    assert store.hard_state() == HardState()
    assert store.entries(1, 1, 100) == []
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
    with pytest.raises(LogUnavailable):
        store.term(1)


def test_what_was_appended_is_there_after_reopening(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path))
    sent = [*entries(1, 4), Entry(2, 4, EntryKind.EMPTY, b""), *entries(5, 7, 2, 100_000)]
    log.append(sent, HardState(2, 3, 1))
    log.append([], HardState(3, 0, 4))
    log.put_metadata({"member_id": b"\x01", "cluster_id": b"\x02"})
    log.close()
    log = LogStore(str(tmp_path))
    try:
        assert log.entries(1, 7, 1 << 30) == sent
        assert log.hard_state() == HardState(3, 0, 4)
        assert (log.term(3), log.term(6)) == (1, 2)
        assert log.get_metadata("member_id") == b"\x01"
        assert log.get_metadata("unheard of") is None
        assert log.size_bytes > 200_000
    finally:
        log.close()


def test_append_replaces_the_tail(store: LogStore) -> None:
    """Entries at or above the first new one are gone, also beyond the new end (Raft §5.3)."""
    store.append(entries(1, 10))
    store.append(entries(4, 6, term=2))
    assert store.last_index == 5
    assert store.entries(1, 6, 1 << 20) == entries(1, 4) + entries(4, 6, term=2)
    with pytest.raises(LogUnavailable):
        store.entries(1, 7, 100)


def test_append_refuses_gaps_and_disorder(store: LogStore) -> None:
    store.append(entries(1, 3))
    for wrong in (entries(4, 5), [entries(3, 4)[0], entries(5, 6)[0]], entries(0, 1)):
        with pytest.raises(ValueError, match=r"does not follow|out of order"):
            store.append(wrong)
    assert store.last_index == 2


def test_reads_are_bounded_in_bytes_but_not_empty(store: LogStore) -> None:
    store.append(entries(1, 10, size=100))
    assert len(store.entries(1, 10, 1)) == 1
    assert 1 < len(store.entries(1, 10, 400)) < 9
    assert len(store.entries(3, 5, 1 << 20)) == 2


def test_the_prefix_is_dropped_and_the_base_kept(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path))
    log.append(entries(1, 6) + entries(6, 11, term=3))
    log.truncate_prefix(7)
    log.truncate_prefix(2)
    for _ in range(2):
        assert (log.first_index, log.last_index, log.term(7)) == (8, 10, 3)
        with pytest.raises(LogCompacted):
            log.term(6)
        with pytest.raises(LogCompacted):
            log.entries(7, 9, 100)
        log.close()
        log = LogStore(str(tmp_path))
    log.truncate_prefix(10)
    assert (log.first_index, log.last_index, log.term(10)) == (11, 10, 3)
    log.append(entries(11, 12, term=3))
    log.reset(50, 7, HardState(7, 0, 50))
    assert (log.first_index, log.last_index, log.term(50)) == (51, 50, 7)
    assert log.hard_state() == HardState(7, 0, 50)
    log.close()


def only_segment(path: Path) -> Path:
    (segment,) = path.glob("*.log")
    return segment


def flip(file: Path, what: bytes) -> None:
    """Change one bit in the middle of what is to be found in a file."""
    raw = bytearray(file.read_bytes())
    raw[raw.index(what) + len(what) // 2] ^= 1
    file.write_bytes(raw)


def test_a_flipped_byte_is_never_served(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path))
    log.append([Entry(1, 1, EntryKind.NORMAL, b"MARK" * 1000)])
    flip(only_segment(tmp_path), b"MARK" * 100)
    with pytest.raises(CorruptLogError, match="does not match its checksum"):
        log.entries(1, 2, 1 << 20)
    log.close()
    with pytest.raises(CorruptLogError, match="a later one is not"):
        LogStore(str(tmp_path))


def test_a_log_of_an_older_format_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"a database")
    with pytest.raises(StorageError, match="LMDB"):
        LogStore(str(tmp_path))


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"{1:016x}.log").write_bytes(b"not a segment" * 1000)
    with pytest.raises(CorruptLogError, match="header"):
        LogStore(str(tmp_path))


def test_a_segment_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path))
    log.append(entries(1, 3))
    log.close()
    os.truncate(only_segment(tmp_path), 100_000)
    with pytest.raises(CorruptLogError, match="cut off by"):
        LogStore(str(tmp_path))


def test_segments_that_are_gone_are_missed(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path), SMALL)
    log.put_metadata({"member_id": b"1"})
    for index in range(1, 20):
        log.append(entries(index, index + 1, size=5000))
    log.close()
    segments = sorted(tmp_path.glob("*.log"))
    assert len(segments) > 3
    segments[1].unlink()
    with pytest.raises(CorruptLogError, match="missing"):
        LogStore(str(tmp_path), SMALL)
    for segment in segments[2:]:
        segment.unlink()
    segments[0].unlink()
    with pytest.raises(CorruptLogError, match="gone"):
        LogStore(str(tmp_path), SMALL)


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path))
    log.close()
    log.close()
    for use in (log.hard_state, lambda: log.append(entries(1, 2)), lambda: log.size_bytes):
        with pytest.raises(ValueError, match="closed"):
            use()


KILLED = """
import os, sys
from raftkv._native.log_store import LogStore
from raftkv.raft.messages import Entry, EntryKind, HardState
log = LogStore(sys.argv[1])
for i in range(1, 1000):
    log.append([Entry(1, i, EntryKind.NORMAL, b"x" * i)], HardState(1, 1, i))
    os.write(1, b"%d\\n" % i)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Every append that returned is there, with the hard state of its transaction."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, "PYTHONPATH": "."},
    ) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(40)][-1]
        process.kill()
    log = LogStore(str(tmp_path))
    try:
        assert log.last_index >= acknowledged
        assert log.hard_state().commit == log.last_index
        found = log.entries(1, log.last_index + 1, 1 << 30)
        assert [len(entry.data) for entry in found] == list(range(1, log.last_index + 1))
    finally:
        log.close()


def test_an_append_in_two_steps_counts_from_its_end_on(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path / "log"))
    with pytest.raises(ValueError, match="nothing was begun"):
        log.end_append()
    log.append(entries(1, 4), HardState(1, 1, 0))
    log.begin_append(entries(3, 7, term=2), HardState(2, 0, 2))
    assert (log.last_index, log.hard_state()) == (3, HardState(1, 1, 0))
    assert log.entries(1, 4, 1 << 20) == entries(1, 4)
    others: list[Callable[[], None]] = [
        lambda: log.append(entries(4, 6)),
        lambda: log.begin_append(entries(4, 6)),
        lambda: log.truncate_prefix(2),
        lambda: log.reset(9, 9),
        lambda: log.put_metadata({"a": b"b"}),
    ]
    for other in others:
        with pytest.raises(ValueError, match="under way"):
            other()
    log.end_append()
    assert (log.last_index, log.hard_state()) == (6, HardState(2, 0, 2))
    with pytest.raises(ValueError, match="nothing was begun"):
        log.end_append()
    log.append(entries(7, 8, term=2))
    log.close()
    log = LogStore(str(tmp_path / "log"))
    assert log.entries(1, 8, 1 << 20) == entries(1, 3) + entries(3, 8, term=2)
    log.close()


def test_an_append_whose_end_nobody_waits_for_is_there_or_is_not(tmp_path: Path) -> None:
    """Closed, or ended, in between: the buffer lives as long as the kernel reads it."""
    for round_ in range(1, 60):
        log = LogStore(str(tmp_path / "log"))
        last = log.last_index
        log.append(entries(last + 1, last + 3, size=3000))
        log.begin_append(entries(last + 3, last + 5, size=40 * round_))
        if round_ % 2:
            log.close()
            with pytest.raises(ValueError, match="closed"):
                log.end_append()
        del log
        log = LogStore(str(tmp_path / "log"))
        assert log.last_index in (last + 2, last + 4)
        log.close()


def test_what_is_wrong_with_an_append_is_said_when_it_begins(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path / "log"))
    with pytest.raises(ValueError, match="does not follow"):
        log.begin_append(entries(2, 3))
    log.append(entries(1, 2))
    assert log.last_index == 1
    log.close()
