"""The log's files: segments whose frames have right checksums, then damage, then a member's start.

An input says what headers and frames some segments have, which need not make sense, and which bytes
are damaged afterwards. Opening ends in a log or in a StorageError. A log that opens reads as the
plain reader reads it, takes an entry, and has the same entries when it is opened again.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

from raftkv._native.log_store import LogStore
from raftkv._native.log_store_reference import FRAME, RECORD, RESET, entry_checksum, read_log
from raftkv.raft.messages import Entry, EntryKind
from raftkv.storage.errors import CorruptLogError, StorageError
from raftkv.storage.log_segment import HEADER_BYTES, SegmentHeader
from tests.fuzz.pieces import Pieces, string
from tests.raftkv.native.mvcc_store_driver import MEMORY_DISK

SEGMENT_BYTES = 8192
SEGMENTS_MAX = 4
FRAMES_MAX = 12
RECORDS_MAX = 8
DAMAGE_MAX = 8
GENERATIONS = 1 << 40
HUGE = {250: (1 << 64) - 1, 251: 1 << 63, 252: (1 << 32) - 1, 253: 1 << 32, 254: (1 << 63) - 1}
ALL = (1 << 62) - 1
U64_MAX = (1 << 64) - 1


class Written:
    """Segments as an input describes them."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self.is_sane = True
        """Whether no number is beyond what a log can reach."""
        self.segments: dict[int, bytearray] = {}
        self.last = self.base = 0
        self.end = 0
        """Where the frames of the segment before end."""
        for sequence in range(1, 1 + pieces.byte() % SEGMENTS_MAX):
            self.segments[sequence] = self.segment(sequence)

    def number(self, expected: int = 0) -> int:
        """Take a number: 0 is what fits, others are the distance from it, or huge."""
        value = self.pieces.byte()
        if value in HUGE:
            self.is_sane = False
            return HUGE[value]
        distance = value - 256 if value >= 128 else value
        self.is_sane = self.is_sane and expected + distance >= 0
        return min(max(0, expected + distance), U64_MAX)

    def segment(self, sequence: int) -> bytearray:
        header = SegmentHeader(
            self.number(sequence),
            self.number(sequence * GENERATIONS),
            self.number(SEGMENT_BYTES),
            self.number(self.end),
            self.number(self.base),
            self.number(1),
            self.number(self.last),
            self.number(1),
            1,
            0,
            0,
        )
        content = bytearray(header.encode().ljust(SEGMENT_BYTES, b"\0"))
        place = HEADER_BYTES
        for _ in range(self.pieces.byte() % FRAMES_MAX):
            frame = self.frame(header.generation, place)
            if place + len(frame) > len(content):
                break
            content[place : place + len(frame)] = frame
            place += (len(frame) + 7) // 8 * 8
        self.end = place
        return content

    def frame(self, generation: int, place: int) -> bytes:
        flags = self.pieces.byte() & 3
        if flags & RESET:
            self.last = self.base = self.number(self.base)
        first = self.number(self.last + 1)
        count = 0 if flags & RESET else self.pieces.byte() % RECORDS_MAX
        records, heads = [], []
        for index in range(first, first + count):
            term, kind, data = self.number(1), self.pieces.byte() % 4, self.pieces.string()
            own = entry_checksum(term, index, kind, data)
            heads.append(RECORD.pack(term, len(data), own, kind))
            records += [heads[-1], data]
        if count:
            self.last = first + count - 1
            self.base = min(self.number(self.base), self.last)
        state = (generation, count, flags, first if count else 0, self.number(1), 0, 0)
        size = FRAME.size + sum(map(len, records))
        head = FRAME.pack(0, size, *state, self.base, 1)
        total = zlib.crc32(head[4:], zlib.crc32(struct.pack("<Q", place)))
        for one in heads:
            total = zlib.crc32(one, total)
        return struct.pack("<I", total) + head[4:] + b"".join(records)

    def damage(self) -> None:
        """Flip bytes, or cut a segment off."""
        for _ in range(self.pieces.byte() % DAMAGE_MAX):
            content = self.segments.get(1 + self.pieces.byte() % SEGMENTS_MAX)
            at, mask = self.pieces.short(), self.pieces.byte()
            if content and not mask:
                del content[at:]
            elif content and at < len(content):
                content[at] ^= mask


def read(path: Path, compare: bool) -> list[Entry] | None:
    """Open, read, append and close; None where the log is refused."""
    is_single = len(list(path.glob("*.log"))) == 1  # opening may put segments aside
    try:
        log = LogStore(str(path), SEGMENT_BYTES)
    except StorageError:
        return None
    try:
        lo, hi = log.first_index, log.last_index + 1
        found = log.entries(lo, hi, ALL)
        assert [entry.index for entry in found] == list(range(lo, hi))
        for index in range(lo, hi):
            log.term(index)
        if compare:
            with suppress(CorruptLogError):
                plain = read_log(path)
                assert plain.entries == found, (plain.entries, found)
                # A later header repeats the hard state; here it may contradict the frames.
                if is_single:
                    assert plain.hard_state == log.hard_state()
        if hi < ALL:
            added = Entry(1, hi, EntryKind.NORMAL, b"added")
            log.append([added], log.hard_state())
            found.append(added)
            assert log.entries(lo, hi + 1, ALL) == found
            log.truncate_prefix(lo)
            found = found[1:]
    except CorruptLogError:
        return None
    finally:
        log.close()
    return found


def run(data: bytes) -> None:
    """Write the files, and start on them twice."""
    pieces = Pieces(data)
    written = Written(pieces)
    written.damage()
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        path = Path(folder) / "log"
        path.mkdir()
        for sequence, content in written.segments.items():
            (path / f"{sequence:016x}.log").write_bytes(content)
        found = read(path, compare=written.is_sane and bool(written.segments))
        if found is not None:
            log = LogStore(str(path), SEGMENT_BYTES)
            assert log.entries(log.first_index, log.last_index + 1, ALL) == found
            log.close()


def seeds() -> list[bytes]:
    """Return whole logs, and the same with damage."""
    header = bytes(8)
    record = b"\0\0" + string(b"data of an entry")
    entries = b"\0\0" + b"\2" + record * 2 + b"\0\0"
    reset = bytes((RESET, 9, 0, 0))
    close = bytes((2, 0, 0, 0))
    cut = b"\0\0" + b"\1" + record + b"\1\0"
    one = header + b"\2" + entries + close
    two = header + b"\3" + entries + cut + entries
    three = header + b"\2" + reset + entries
    whole = [b"\1" + one, b"\2" + two + one, b"\3" + two + three + one, b"\3" + two + two + two]
    damages = [b"", b"\1\0\x10\x10\1", b"\2\1\x20\x10\1\0\x58\x10\x80", b"\1\1\0\x11\0"]
    return [log + damage for log in whole for damage in damages]
