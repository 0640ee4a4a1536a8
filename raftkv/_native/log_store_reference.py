"""The plainest reader of a log in segments: the oracle of `log_store`, and its format in few lines.

It checks everything, keeps everything in memory, and changes nothing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from raftkv.raft.messages import Entry, EntryKind, HardState
from raftkv.storage.errors import CorruptLogError
from raftkv.storage.log_segment import HEADER_BYTES, INDEX_MAX, SegmentHeader

__all__ = ["StoredLog", "read_log"]

FRAME = struct.Struct("<IIQIIQQQQQQ")
RECORD = struct.Struct("<QIIB7x")
RESET = 1
KINDS = {int(kind) for kind in EntryKind}


@dataclass(slots=True)
class StoredLog:
    """What a log holds."""

    base_index: int = 0
    base_term: int = 0
    hard_state: HardState = field(default_factory=HardState)
    entries: list[Entry] = field(default_factory=list)
    """Contiguous, above the base."""


def read_log(path: Path) -> StoredLog:
    """Read a log directory. Raises CorruptLogError for damage."""
    segments = {int(file.stem, 16): file.read_bytes() for file in path.glob("*.log")}
    sequence = max(segments)
    headers = {sequence: SegmentHeader.decode(segments[sequence])}
    while sequence - 1 in segments:
        sequence -= 1
        try:
            header = SegmentHeader.decode(segments[sequence])
        except ValueError:
            break
        if header.sequence != sequence:
            break
        headers[sequence] = header
    by_index: dict[int, Entry] = {}
    log = StoredLog()
    for number in sorted(headers):
        header = headers[number]
        log.base_index, log.base_term = header.base_index, header.base_term
        log.hard_state = HardState(header.term, header.vote, header.commit)
        for frame in _frames(segments[number], header.generation):
            _take(log, by_index, *frame)
    found = [by_index[index] for index in sorted(by_index) if index > log.base_index]
    if found and (found[0].index, found[-1].index) != (
        log.base_index + 1,
        log.base_index + len(found),
    ):
        raise CorruptLogError(log.base_index + 1, "entries are missing")
    for entry in found:  # what is dropped may be of any kind
        if entry.kind not in KINDS:
            raise CorruptLogError(entry.index, f"unknown kind {entry.kind}")
    log.entries = found
    return log


def _take(
    log: StoredLog,
    by_index: dict[int, Entry],
    flags: int,
    base: tuple[int, int],
    hard_state: HardState,
    entries: list[Entry],
) -> None:
    if flags & RESET:
        by_index.clear()
    if entries:
        for index in [index for index in by_index if index >= entries[0].index]:
            del by_index[index]
    by_index.update((entry.index, entry) for entry in entries)
    log.base_index, log.base_term = base
    log.hard_state = hard_state


_Frame = tuple[int, tuple[int, int], HardState, list[Entry]]


def _frames(segment: bytes, generation: int) -> Iterator[_Frame]:
    """Yield the frames of a segment; raises if one that is valid follows one that is not."""
    place = HEADER_BYTES
    while (found := _frame(segment, place, generation)) is not None:
        size, frame = found
        yield frame
        place += (size + 7) // 8 * 8
    for later in range(place + 8, len(segment) - FRAME.size + 1, 8):
        if (
            struct.unpack_from("<Q", segment, later + 8)[0] == generation
            and _frame(segment, later, generation) is not None
        ):
            raise CorruptLogError(0, f"the frame at {place} is damaged, a later one is not")


def entry_checksum(term: int, index: int, kind: int, data: bytes) -> int:
    """As `raftkv.raft.messages.entry_checksum`, for whatever 64 bits a file may hold."""
    place = struct.pack(">Q", index & (1 << 64) - 1) + struct.pack("<QB", term, kind)
    return zlib.crc32(data, zlib.crc32(place))


def _frame(segment: bytes, place: int, generation: int) -> tuple[int, _Frame] | None:
    """Read the frame at a place; None unless a valid one of this generation is there."""
    if place + FRAME.size > len(segment):
        return None
    fields = FRAME.unpack_from(segment, place)
    checksum, size, its_generation, count, flags, first, term, vote, commit, *base = fields
    if its_generation != generation or not FRAME.size <= size <= len(segment) - place:
        return None
    actual = zlib.crc32(struct.pack("<Q", place))
    actual = zlib.crc32(segment[place + 4 : place + FRAME.size], actual)
    at, end = place + FRAME.size, place + size
    entries = []
    highest = max(first, term, commit, *base)
    for index in range(first, first + count):
        if at + RECORD.size > end:
            return None
        entry_term, length, own, kind = RECORD.unpack_from(segment, at)
        actual = zlib.crc32(segment[at : at + RECORD.size], actual)
        at += RECORD.size
        data = segment[at : at + length]
        at += length
        if at > end:
            return None
        if entry_checksum(entry_term, index, kind, data) != own:
            return None
        known = EntryKind(kind) if kind in KINDS else cast(EntryKind, kind)
        highest = max(highest, index, entry_term)
        if highest <= INDEX_MAX:
            entries.append(Entry(entry_term, index, known, data, own))
    if at != end or actual != checksum:
        return None
    if highest > INDEX_MAX:
        raise CorruptLogError(first, "an index or a term that no log can reach")
    return size, (flags, (base[0], base[1]), HardState(term, vote, commit), entries)
