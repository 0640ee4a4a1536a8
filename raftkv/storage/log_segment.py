"""The first block of a segment of the log: what the log was when the segment began.

A segment is one file, written from its beginning to its end and never twice in the same place in
one life. Its header repeats what all segments before it add up to, so that those may go, and names
where the one before it ended, so that the two can be told to fit.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAGIC = b"rkvlog 1"
"""The last byte is the number of the format."""

INDEX_MAX = (1 << 63) - 1
"""Of terms, too: so that whoever counts on from one need not think of the end of 64 bits."""

HEADER_BYTES = 4096
"""Frames begin here, on a page of their own."""

_FIELDS = struct.Struct("<8s12Q")
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Numbers as of the moment when the segment was begun, all u64."""

    sequence: int
    """1 for a log's first segment; no number is used twice."""
    generation: int
    """Drawn anew for each life of a file: what an earlier life left behind in it bears another."""
    capacity_bytes: int
    """The file's size, all of it written once, so that a sync concerns no metadata."""
    previous_end: int
    """Where the frames of the segment before this one end; 0 in the first."""
    base_index: int
    base_term: int
    last_index: int
    last_term: int
    term: int
    vote: int
    commit: int

    def encode(self) -> bytes:
        """Return the block, HEADER_BYTES long."""
        fields = _FIELDS.pack(
            MAGIC,
            self.sequence,
            self.generation,
            self.capacity_bytes,
            self.previous_end,
            self.base_index,
            self.base_term,
            self.last_index,
            self.last_term,
            self.term,
            self.vote,
            self.commit,
            0,
        )
        return (fields + _CHECKSUM.pack(zlib.crc32(fields))).ljust(HEADER_BYTES, b"\0")

    @classmethod
    def decode(cls, block: bytes) -> SegmentHeader:
        """Read a block. Raises ValueError for one that `encode` did not make."""
        if len(block) < HEADER_BYTES:
            raise ValueError("the header is cut off")
        fields = block[: _FIELDS.size]
        if zlib.crc32(fields) != _CHECKSUM.unpack_from(block, _FIELDS.size)[0]:
            raise ValueError("the header does not match its checksum")
        magic, *numbers, _reserved = _FIELDS.unpack(fields)
        if magic != MAGIC:
            raise ValueError(f"the format {magic!r} is not {MAGIC!r}")
        header = cls(*numbers)
        if (
            header.base_index
            | header.base_term
            | header.last_index
            | header.last_term
            | header.term
            | header.commit
        ) > INDEX_MAX:
            raise ValueError("it names an index or a term that no log can reach")
        return header
