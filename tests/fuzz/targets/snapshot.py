"""Chunks of a snapshot as they arrive, and the state that they make when they are complete.

Chunks get their number, checksum and digest unless the input says otherwise; their rows are the
input's. What is refused changes nothing. A state of rows that make no sense may be refused, but
reading it never leaves the bytes that are there.
"""

from __future__ import annotations

import struct
import tempfile
import zlib

from raftkv._native import mvcc_store
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.snapshot_writer import SnapshotWriter
from raftkv.errors import StoreError, StoreIOError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.storage.errors import SnapshotError
from tests.fuzz.pieces import Pieces, string
from tests.raftkv.native.mvcc_store_driver import MEMORY_DISK, batch

FORMAT = b"raftkv state 1"
CHUNKS_MAX = 24
MAGIC = 0x31736B72
CLUSTER, MEMBER = 1, 2
HEADER_ROW, END_ROW = 250, 255
INDEX, HISTORY, LEASES, LEASE_KEYS, META = range(5)
FIELDS = struct.Struct("<QQQqq")
ROWS, RAW, HEADER, END, REOPEN, DISCARD, DUPLICATE, INSTALL = range(8)
ALL = pb.RangeRequest(key=b"\0", range_end=b"\0").SerializeToString()
OLD = pb.RangeRequest(key=b"a", revision=2).SerializeToString()


def row(tree: int, key: bytes, value: bytes) -> bytes:
    return struct.pack("<BII", tree, len(key), len(value)) + key + value


def seal(number: int, digest: bytes, payload: bytes) -> bytes:
    head = struct.pack("<III", MAGIC, number, len(payload))
    total = zlib.crc32(payload, zlib.crc32(digest, zlib.crc32(head)))
    return head + struct.pack("<I", total) + digest + payload


class Transfer:
    """One receiver, with the store that the snapshot is for."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.store = MvccStore(path, cluster_id=CLUSTER, member_id=MEMBER, map_size=1 << 26)
        self.writer = self.open()
        self.rows = 0
        self.last = b""

    def open(self) -> SnapshotWriter:
        return SnapshotWriter(self.path, cluster_id=CLUSTER, member_id=MEMBER, map_size=1 << 26)

    def send(self, payload: bytes, rows: int) -> None:
        writer = self.writer
        self.last = seal(writer.next_chunk, writer.digest, payload)
        self.give(self.last)
        self.rows += rows

    def give(self, chunk: bytes) -> None:
        """Give the writer a chunk; one that it refuses changes nothing, but for the first."""
        writer = self.writer
        before = (writer.next_chunk, writer.digest)
        try:
            writer.write(chunk)
        except SnapshotError:
            assert before == (writer.next_chunk, writer.digest) or chunk[4:8] == bytes(4)
            raise
        assert writer.next_chunk == int.from_bytes(chunk[4:8], "little") + 1

    def step(self, pieces: Pieces) -> None:
        match pieces.byte() % 8:
            case 0:  # ROWS
                count = 1 + pieces.byte() % 8
                made = [
                    row(pieces.byte() % 6, pieces.string(), pieces.string()) for _ in range(count)
                ]
                self.send(b"".join(made), count)
            case 1:  # RAW
                self.send(pieces.string(), 0)
            case 2:  # HEADER
                numbers = (pieces.byte(), pieces.byte(), pieces.byte())
                self.rows = 0
                payload = row(HEADER_ROW, b"", b"")[:9] + FIELDS.pack(CLUSTER, *numbers, -1)
                self.last = seal(0, bytes(32), payload)
                self.give(self.last)
            case 3:  # END
                total = self.rows + pieces.byte()
                self.send(row(END_ROW, b"", b"")[:9] + struct.pack("<Q", total), 0)
            case 4:
                self.writer.close()
                self.writer = self.open()
            case 5:
                self.writer.discard()
            case 6:  # DUPLICATE
                chunk = bytearray(self.last)
                at, mask = pieces.short(), pieces.byte()
                if at < len(chunk):
                    chunk[at] ^= mask
                self.give(bytes(chunk))
            case _:
                self.install()

    def install(self) -> None:
        """Make the snapshot the state, and read all of it."""
        self.store.install(self.writer)
        store = self.store
        for read in (ALL, OLD):
            store.range(read, 1)
        store.lease_keys(7)
        store.member_records()
        store.hash_kv(0)
        for _ in store.events(max(0, store.compact_revision), store.revision, 1 << 20):
            pass
        reader = store.snapshot_open()
        while reader.read(4096):
            pass
        store.apply(store.applied_index + 1, 1 << 40, batch(pb.PutRequest(key=b"a")), True)
        store.flush()

    def close(self) -> None:
        self.writer.close()
        self.store.close()


def run(data: bytes) -> None:
    """Receive what the input sends."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as path:
        one = Transfer(path)
        try:
            pieces = Pieces(data)
            for _ in range(CHUNKS_MAX):
                if pieces.is_empty:
                    break
                try:
                    one.step(pieces)
                except (SnapshotError, StoreError, ValueError):
                    continue
                except StoreIOError:  # damage in the state: the member would stop
                    break
        finally:
            one.close()
    assert mvcc_store.live_stores == 0


def seeds() -> list[bytes]:
    """Return a whole transfer, parts of it, and rows that contradict each other."""
    index = struct.pack("<qIIqqq", 2, 0, 0, 2, 1, 7)
    history = struct.pack("<qqqqII", 2, 1, 7, 0, 0, 1) + b"av"
    revision = struct.pack(">QI", 2, 0)
    lease = struct.pack(">Q", 7)
    rows = [
        (INDEX, b"a", index),
        (HISTORY, revision, history),
        (LEASES, lease, struct.pack("<q", 60)),
        (LEASE_KEYS, lease + revision, b""),
        (META, b"applied", struct.pack("<QQ", 9, 1)),
        (META, b"format", FORMAT),
        (META, b"r/one", b"record"),
        (META, b"revision", struct.pack("<qq", 2, -1)),
    ]
    header = bytes((HEADER, 9, 1, 2))
    end = bytes((END, 0))
    steps = b"".join(bytes((tree,)) + string(key) + string(value) for tree, key, value in rows)
    whole = header + bytes((ROWS, 7)) + steps + end
    bucket = struct.pack("<I", 485) + index + b"k" * 485
    long = bytes((ROWS, 0, INDEX)) + string(b"k" * 480 + b"\0") + string(bucket)
    few = bytes((ROWS, 1, META)) + string(b"format") + string(FORMAT)
    few += bytes((META,)) + string(b"revision") + string(struct.pack("<qq", 9, 3))
    return [
        whole + bytes((INSTALL,)),
        whole[:-2] + bytes((REOPEN,)) + end + bytes((INSTALL,)),
        header + long + few + end + bytes((INSTALL,)),
        header + few + bytes((DUPLICATE, 0, 0, 0, DISCARD)) + whole + bytes((INSTALL,)),
        header + bytes((RAW,)) + string(row(META, b"a", b"b")) + end,
    ]
