"""A bbolt file from anybody: opened, read to its end, and restored into a state.

An input is pages of 512 bytes, in text that leaves out what is zero, behind meta pages that are
right unless the input says otherwise; or the rows of a sound etcd database, whose bytes only the
restoration looks at. Whatever it is, reading ends in rows or in a BboltError.
"""

from __future__ import annotations

import struct
import tempfile
from contextlib import suppress
from pathlib import Path

from raftkv._native.state_builder import StateBuilder
from raftkv.bbolt.errors import BboltError
from raftkv.bbolt.file import BboltFile
from raftkv.bbolt.page import BRANCH, BUCKET, HEADER, LEAF
from raftkv.bbolt.snapshot_file import HashCheck, open_snapshot, status_of
from raftkv.server.etcd_buckets import auth_records, compact_revision_of, lease_of
from tests.fuzz.pieces import Pieces, string
from tests.raftkv.native.mvcc_store_driver import MEMORY_DISK

PAGE = 512
PAGES_MAX = 24
ROWS_MAX = 24
NAMES = (b"auth", b"authRoles", b"authUsers", b"key", b"lease", b"meta")
_META = struct.Struct("<IIIIQQQQQ")


def meta_page(number: int, root: int, pages: int) -> bytes:
    """One of the two descriptions of the file, with its checksum."""
    content = _META.pack(0xED0CDAED, 2, PAGE, 0, root, 0, 0, pages, number)
    total = 0xCBF29CE484222325
    for byte in content:
        total = (total ^ byte) * 0x100000001B3 % (1 << 64)
    return (HEADER.pack(number, 4, 0, 0) + content + struct.pack("<Q", total)).ljust(PAGE, b"\0")


def leaf(page: int, rows: list[tuple[int, bytes, bytes]]) -> bytes:
    """A leaf with these rows, of as many pages as it needs."""
    at, elements, tail = 16 * len(rows), b"", b""
    for place, (flags, key, value) in enumerate(rows):
        elements += struct.pack("<IIII", flags, at - 16 * place + len(tail), len(key), len(value))
        tail += key + value
    size = HEADER.size + len(elements) + len(tail)
    overflow = (size - 1) // PAGE if page else 0
    content = HEADER.pack(page, LEAF, len(rows), overflow) + elements + tail
    return content.ljust((overflow + 1) * PAGE, b"\0") if page else content


def pages_of(pieces: Pieces) -> bytes:
    """A file of pages as the input has them: a header of its own choice, then the content."""
    root = 2 + pieces.byte() % PAGES_MAX
    content = b""
    while not pieces.is_empty and len(content) < PAGES_MAX * PAGE:
        number = 2 + len(content) // PAGE
        shift, flags, count, overflow = (pieces.byte() for _ in range(4))
        page = HEADER.pack(number ^ shift, flags, count, overflow) + pieces.string()
        content += page[:PAGE].ljust(PAGE, b"\0")
    pages = 2 + len(content) // PAGE
    return meta_page(0, root, pages) + meta_page(1, root, pages) + content


def database_of(pieces: Pieces) -> bytes:
    """A sound database whose buckets have the rows of the input, inside of one leaf."""
    buckets = []
    for name in NAMES:
        rows = {}
        for _ in range(min(ROWS_MAX, pieces.byte())):
            key = pieces.string()
            rows[key] = pieces.string()
        ordered = [(0, key, rows[key]) for key in sorted(rows)]
        buckets.append((BUCKET, name, bytes(16) + leaf(0, ordered)))
    content = leaf(2, buckets)
    pages = 2 + len(content) // PAGE
    return meta_page(0, 2, pages) + meta_page(1, 2, pages) + content


def restore(file: BboltFile, path: str) -> None:
    """Do what a restoration does with the rows. Raises ValueError, BboltError."""
    builder = StateBuilder(path, map_size=1 << 26)
    try:
        for revision, key_value in file.rows(b"key"):
            builder.add(revision, key_value)
        leases = dict(lease_of(value) for _, value in file.rows(b"lease"))
        compacted = compact_revision_of(dict(file.rows(b"meta")))
        records = auth_records(file.rows(b"auth"), file.rows(b"authUsers"), file.rows(b"authRoles"))
        builder.finish(
            cluster_id=1,
            member_id=2,
            index=1,
            term=1,
            revision=max(1, builder.revision, compacted),
            compact_revision=compacted,
            leases=leases,
            records=records,
        )
    finally:
        builder.close()


def run(data: bytes) -> None:
    """Read one file in every way."""
    pieces = Pieces(data)
    mode = pieces.byte()
    content = (database_of if mode & 1 else pages_of)(pieces)
    if mode & 2:
        content = content[: -1 - (mode >> 2)]
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        path = Path(folder) / "db"
        path.write_bytes(content)
        with suppress(BboltError), BboltFile(path) as file:
            status_of(file)
            with suppress(ValueError):
                restore(file, f"{folder}/state")
        with suppress(BboltError), open_snapshot(path, HashCheck.IF_THERE) as file:
            assert file.size_bytes <= len(content)


def seeds() -> list[bytes]:
    """Return trees of pages, and databases."""
    row = struct.pack("<IIII", 0, 16, 1, 1) + b"kv"
    inline = bytes(16) + leaf(0, [(0, b"k", b"v")])
    roots = struct.pack("<IIII", BUCKET, 16, 1, len(inline)) + b"b" + inline
    far = struct.pack("<IIII", BUCKET, 16, 1, 16) + b"b" + struct.pack("<QQ", 3, 0)
    branch = struct.pack("<IIQIIQ", 32, 1, 4, 17, 1, 5) + b"ab"
    pages = [
        b"\0\0" + bytes((0, LEAF, 1, 0)) + string(roots),
        b"\0\0" + bytes((0, LEAF, 1, 0)) + string(far) + bytes((0, LEAF, 1, 0)) + string(row),
        b"\0\0"
        + bytes((0, LEAF, 1, 0))
        + string(far)
        + bytes((0, BRANCH, 2, 0))
        + string(branch)
        + (bytes((0, LEAF, 1, 0)) + string(row)) * 2,
        b"\0\0" + bytes((0, LEAF, 1, 1)) + string(roots) + bytes(4) + string(b"x"),
    ]
    revision = struct.pack(">QcQ", 2, b"_", 0)
    key_value = b"\n\1a\x10\2\x18\2\x20\1*\1v"
    gone = struct.pack(">QcQ", 3, b"_", 1) + b"t"
    rows = {
        b"auth": [(b"authEnabled", b"\1"), (b"authRevision", struct.pack(">Q", 7))],
        b"authRoles": [(b"root", b"\n\4root")],
        b"authUsers": [(b"root", b"\n\4root\x12\1h\x1a\4root")],
        b"key": [(revision, key_value), (gone, b"\n\1a")],
        b"lease": [(struct.pack(">Q", 7), b"\x08\7\x10\x3c")],
        b"meta": [(b"scheduledCompactRev", struct.pack(">QcQ", 2, b"_", 0))],
    }
    whole = b"".join(
        bytes([len(rows[name])]) + b"".join(string(k) + string(v) for k, v in rows[name])
        for name in NAMES
    )
    return [*pages, b"\1" + whole, b"\3" + whole, b"\1" + bytes(6)]
