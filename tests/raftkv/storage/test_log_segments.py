"""Segments of the log: begun, dropped, used again, torn, damaged; and read by the plain twin."""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftkv._native import log_store_reference
from raftkv._native.log_store import LogStore
from raftkv._native.log_store_reference import FRAME, read_log
from raftkv.raft.messages import Entry, EntryKind, HardState, entry_checksum
from raftkv.storage.errors import CorruptLogError
from raftkv.storage.log_segment import HEADER_BYTES, SegmentHeader
from raftkv.testing.memory_log import MemoryLog
from tests.raftkv.native.mvcc_store_driver import MEMORY_DISK

SMALL = 16 << 10
SECTOR_FRAME = 410
"""Bytes of an entry with an index of four digits whose frame has 512."""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory in memory: these tests sync a lot, and the disk is not what they are about."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        yield Path(folder)


def entry(term: int, index: int, size: int = 10) -> Entry:
    return Entry(term, index, EntryKind.NORMAL, b"%d/%d" % (term, index) + bytes(size))


def check_same(log: LogStore, model: MemoryLog) -> None:
    assert (log.first_index, log.last_index) == (model.first_index, model.last_index)
    assert log.hard_state() == model.hard_state()
    lo, hi = model.first_index, model.last_index + 1
    found = log.entries(lo, hi, 1 << 40)
    assert found == model.entries(lo, hi, 1 << 40)
    assert [log.term(i) for i in range(lo - 1, hi)] == [model.term(i) for i in range(lo - 1, hi)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5), st.sampled_from([0, 1, 7, 900, 20_000])),
        st.tuples(st.just("replace"), st.integers(1, 6), st.integers(0, 2000)),
        st.tuples(st.just("truncate"), st.integers(0, 8), st.none()),
        st.tuples(st.just("reset"), st.integers(1, 5), st.none()),
        st.tuples(st.just("reopen"), st.booleans(), st.none()),
        st.tuples(st.just("hard_state"), st.integers(0, 9), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_the_log_does_what_a_list_does(steps: list[tuple[str, int, int | None]]) -> None:
    """Whatever is done in whatever order, over restarts and kills; and the twin reads the same."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        check_steps(Path(folder), steps)


def check_steps(path: Path, steps: list[tuple[str, int, int | None]]) -> None:
    log, model, term = LogStore(str(path), SMALL), MemoryLog(), 1
    for name, number, size in steps:
        last = model.last_index
        state = HardState(term, number, model.first_index - 1)
        match name:
            case "append" | "replace":
                first = last + 1
                if name == "replace":
                    term += 1
                    first = max(model.first_index, last - number)
                new = [entry(term, first + i, size or 0) for i in range(number)]
                log.append(new, state)
                model.append(new, state)
            case "truncate":
                index = max(model.first_index - 1, last - number)
                log.truncate_prefix(index)
                model.truncate_prefix(index)
            case "reset":
                term += 1
                log.reset(last + number, term, state)
                model.reset(last + number, term, state)
            case "hard_state":
                log.append([], state)
                model.append([], state)
            case "reopen":
                if number:
                    log.close()
                del log  # else as kill -9 leaves it
                log = LogStore(str(path), SMALL)
        check_same(log, model)
    stored = read_log(path)
    assert stored.entries == model.entries(model.first_index, model.last_index + 1, 1 << 40)
    assert (stored.base_index, stored.hard_state) == (model.first_index - 1, model.hard_state())
    log.close()


def fill(log: LogStore, last: int, size: int = 1000) -> None:
    for index in range(log.last_index + 1, last + 1):
        log.append([entry(1, index, size)], HardState(1, 1, index))


def test_files_of_dropped_segments_are_used_again(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path), SMALL)
    inodes = set()
    for last in range(50, 1000, 50):
        fill(log, last)
        log.truncate_prefix(last - 10)
        inodes |= {file.stat().st_ino for file in tmp_path.iterdir()}
        assert len(list(tmp_path.iterdir())) < 12
    assert len(inodes) < 40  # of some ninety segments
    assert log.entries(log.first_index, log.last_index + 1, 1 << 30) == [
        entry(1, index, 1000) for index in range(log.first_index, log.last_index + 1)
    ]
    log.close()


def test_a_spare_is_made_beside_the_writing(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path), SMALL)
    while not log.wants_spare:
        fill(log, log.last_index + 1)
    maker = threading.Thread(target=log.make_spare)
    maker.start()
    fill(log, log.last_index + 40)
    maker.join()
    assert sum(file.suffix == ".spare" for file in tmp_path.iterdir()) <= 1
    log.close()
    again = LogStore(str(tmp_path), SMALL)
    assert again.last_index == log.last_index
    again.close()


def test_a_write_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path), SMALL)
    fill(log, 3)
    log.append([entry(1, 4, 5 << 20), entry(1, 5)])
    fill(log, 30)
    log.close()
    log = LogStore(str(tmp_path), SMALL)
    assert len(log.entries(4, 5, 1)[0].data) > 5 << 20
    assert log.last_index == 30
    log.close()


def newest(path: Path) -> Path:
    return max(path.glob("*.log"))


def frame_places(path: Path) -> list[tuple[int, int]]:
    """Offsets and sizes of the frames in the newest segment."""
    raw = newest(path).read_bytes()
    generation = SegmentHeader.decode(raw).generation
    place, found = HEADER_BYTES, []
    while (fields := FRAME.unpack_from(raw, place))[2] == generation:
        found.append((place, fields[1]))
        place += (fields[1] + 7) // 8 * 8
    return found


def damage(path: Path, place: int, size: int = 1) -> None:
    with newest(path).open("r+b") as file:
        file.seek(place)
        old = file.read(size)
        file.seek(place)
        file.write(bytes(byte ^ 0x55 for byte in old))


def killed_log(path: Path) -> list[tuple[int, int]]:
    """A log of entries 1 to 9 that was not closed; where its frames are."""
    log = LogStore(str(path))
    fill(log, 9)
    del log
    return frame_places(path)


@pytest.mark.parametrize("where", [0, 4, 8, 20, 60, 75, 90, 500])
def test_a_torn_last_write_is_as_if_it_had_not_been(tmp_path: Path, where: int) -> None:
    place, _ = killed_log(tmp_path)[-1]
    damage(tmp_path, place + where)
    log = LogStore(str(tmp_path))
    assert log.last_index == 8
    assert log.hard_state() == HardState(1, 1, 8)
    log.append([entry(2, 9)], HardState(2, 1, 8))
    log.close()
    assert [one.term for one in read_log(tmp_path).entries] == [1] * 8 + [2]


@pytest.mark.parametrize("where", [0, 4, 8, 20, 60, 75, 90, 500])
@pytest.mark.parametrize("which", [0, 4, 7])
def test_damage_before_a_good_write_is_no_torn_write(
    tmp_path: Path, where: int, which: int
) -> None:
    place, _ = killed_log(tmp_path)[which]
    damage(tmp_path, place + where)
    with pytest.raises(CorruptLogError, match="a later one is not"):
        LogStore(str(tmp_path))
    with pytest.raises(CorruptLogError):
        read_log(tmp_path)


def test_damage_to_the_last_write_is_noticed_after_an_orderly_stop(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path))
    fill(log, 9)
    log.close()
    damage(tmp_path, frame_places(tmp_path)[-2][0] + 90)
    with pytest.raises(CorruptLogError, match="a later one is not"):
        LogStore(str(tmp_path))


def test_damage_in_an_older_segment_is_never_served(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path), SMALL)
    fill(log, 60)
    log.close()
    oldest = min(tmp_path.glob("*.log"))
    raw = bytearray(oldest.read_bytes())
    raw[HEADER_BYTES + FRAME.size + 100] ^= 1
    oldest.write_bytes(raw)
    log = LogStore(str(tmp_path), SMALL)
    with pytest.raises(CorruptLogError, match="checksum"):
        log.entries(1, 3, 1 << 20)
    assert log.entries(2, 60, 1 << 20)[0].index == 2
    log.close()
    raw[HEADER_BYTES + 30] ^= 1
    oldest.write_bytes(raw)
    with pytest.raises(CorruptLogError, match="damaged"):
        LogStore(str(tmp_path), SMALL)


def recycled_log(path: Path) -> int:
    """A killed log whose newest segment is full of frames of an earlier life; its last index.

    Its last frame ends with a block, as behind it in the same block there are zeros.
    """
    log = LogStore(str(path), SMALL)
    log.reset(1000, 1)
    fill(log, 1200, SECTOR_FRAME)
    log.truncate_prefix(1199)
    fill(log, 1240, SECTOR_FRAME)
    while sum(frame_places(path)[-1]) % 4096:
        fill(log, log.last_index + 1, SECTOR_FRAME)
    return log.last_index


def test_what_an_earlier_life_left_in_a_file_is_no_entry(tmp_path: Path) -> None:
    """Frames that were valid in their time are right behind the last one, at the same offsets."""
    last = recycled_log(tmp_path)
    log = LogStore(str(tmp_path), SMALL)
    assert log.last_index == last
    log.close()
    assert read_log(tmp_path).entries[-1].index == last


def test_a_reader_that_takes_an_earlier_life_for_its_own_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: frames of other generations do lie there."""
    last = recycled_log(tmp_path)
    real = log_store_reference._frame

    def careless(segment: bytes, place: int, _generation: int) -> Any:
        if place + FRAME.size > len(segment):
            return None
        return real(segment, place, FRAME.unpack_from(segment, place)[2])

    monkeypatch.setattr(log_store_reference, "_frame", careless)
    try:
        found = read_log(tmp_path).entries[-1].index
    except CorruptLogError:
        return
    assert found != last


def test_a_reader_that_checks_no_data_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests of torn writes can fail: what is torn would be read."""
    place, _ = killed_log(tmp_path)[-1]
    damage(tmp_path, place + 500)
    assert len(read_log(tmp_path).entries) == 8
    checksum = {(one.term, one.index): one.checksum for one in (entry(1, 9, 1000),)}

    def careless(term: int, index: int, kind: int, data: bytes) -> int:
        return checksum.get((term, index)) or entry_checksum(term, index, kind, data)

    monkeypatch.setattr(log_store_reference, "entry_checksum", careless)
    assert len(read_log(tmp_path).entries) == 9


def test_any_damage_is_noticed_or_harmless(tmp_path: Path) -> None:
    """One byte anywhere: the log refuses to open, lacks the last write, or is the same."""
    log = LogStore(str(tmp_path), SMALL)
    fill(log, 12, 500)
    del log
    good = read_log(tmp_path)
    file = newest(tmp_path)
    original = file.read_bytes()
    chance = random.Random(1)
    refused = 0
    for _ in range(300):
        place = chance.randrange(len(original))
        raw = bytearray(original)
        raw[place] ^= 1 << chance.randrange(8)
        file.write_bytes(raw)
        try:
            log = LogStore(str(tmp_path), SMALL)
        except CorruptLogError:
            refused += 1
            continue
        found = log.entries(1, log.last_index + 1, 1 << 30)
        assert found in (good.entries, good.entries[:-1])
        del log
    assert refused > 50


def test_a_reader_beside_the_writer_never_sees_a_half(tmp_path: Path) -> None:
    log = LogStore(str(tmp_path), SMALL)
    fill(log, 1)
    done = threading.Event()
    problems: list[BaseException] = []

    def read() -> None:
        from raftkv.raft.errors import LogCompacted

        while not done.is_set():
            lo = log.first_index
            try:
                for one in log.entries(lo, log.last_index + 1, 1 << 20):
                    assert one == entry(1, one.index, 6000)
            except LogCompacted:
                continue
            except BaseException as error:
                problems.append(error)
                return

    fill(log, 2, 6000)
    log.truncate_prefix(1)
    reader = threading.Thread(target=read)
    reader.start()
    for last in range(10, 300, 10):
        fill(log, last, 6000)
        log.truncate_prefix(last - 5)
    done.set()
    reader.join()
    assert not problems
    log.close()
    assert os.listdir(tmp_path)
