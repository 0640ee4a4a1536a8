"""The file that a snapshot becomes: bbolt's rules, and every row in it."""

import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftkv._native.bbolt_emitter import BboltEmitter
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.snapshot_reader import SnapshotReader
from raftkv.bbolt.file import BboltFile
from raftkv.pb.etcd import kv_pb2
from tests.raftkv.bbolt.bbolt_check import PAGE, check
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, MEMORY_DISK, Driver

Rows = list[tuple[bytes, bytes]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Driver]:
    opened = MvccStore(str(tmp_path / "state"), cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
    yield Driver(opened)
    opened.close()


def emit(
    reader: SnapshotReader,
    buckets: Mapping[bytes, Rows],
    rows_max: int = 100,
    bytes_max: int = PAGE,
) -> bytes:
    emitter = BboltEmitter(reader, buckets)
    with pytest.raises(ValueError, match="not measured"):
        emitter.read(PAGE)
    while not emitter.measure(rows_max):
        assert emitter.total_bytes == 0
    pieces = []
    while piece := emitter.read(bytes_max):
        pieces.append(piece)
    data = b"".join(pieces)
    assert len(data) == emitter.total_bytes
    return data


def rows_of(data: bytes, directory: Path) -> dict[bytes, Rows]:
    path = directory / "emitted.db"
    path.write_bytes(data)
    with BboltFile(path) as file:
        assert file.size_bytes == len(data)
        return {name: list(file.rows(name)) for name in file.buckets}


def test_every_version_is_there(store: Driver, tmp_path: Path) -> None:
    """Keys of all sizes, tombstones, sub-revisions and leases, as etcd keeps them."""
    store.grant(7, 100)
    store.grant(-5, 200)
    store.put(b"a", b"1", lease=7)
    store.put(b"a", b"")
    store.put(b"b" * 2000, b"x" * 100_000)
    store.delete(b"\0", b"\0")
    store.put(b"a", b"again")
    with_reader = store.store.snapshot_open()
    rows = rows_of(emit(with_reader, {}), tmp_path)
    with_reader.close()

    def revision(main: int, sub: int = 0) -> bytes:
        return struct.pack(">Q", main) + b"_" + struct.pack(">Q", sub)

    def value(**fields: object) -> bytes:
        return kv_pb2.KeyValue(**fields).SerializeToString()  # type: ignore[arg-type]

    assert list(rows) == [b"key", b"lease"]
    assert rows[b"key"] == [
        (
            revision(2),
            value(key=b"a", create_revision=2, mod_revision=2, version=1, value=b"1", lease=7),
        ),
        (revision(3), value(key=b"a", create_revision=2, mod_revision=3, version=2)),
        (
            revision(4),
            value(
                key=b"b" * 2000,
                create_revision=4,
                mod_revision=4,
                version=1,
                value=b"x" * 100_000,
            ),
        ),
        (revision(5) + b"t", value(key=b"a")),
        (revision(5, 1) + b"t", value(key=b"b" * 2000)),
        (
            revision(6),
            value(key=b"a", create_revision=6, mod_revision=6, version=1, value=b"again"),
        ),
    ]
    assert rows[b"lease"] == [
        (struct.pack(">q", 7), b"\x08\x07\x10\x64"),
        (struct.pack(">q", -5), b"\x08" + b"\xfb" + b"\xff" * 8 + b"\x01\x10\xc8\x01"),
    ]


sizes = st.one_of(st.integers(0, 40), st.integers(900, 5000))
rows = st.lists(st.tuples(sizes, sizes), max_size=60)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.binary(min_size=1, max_size=30), rows, max_size=5), st.integers(1, 20_000)
)
def test_whatever_the_rows_are_bbolt_would_take_the_file(
    shapes: dict[bytes, list[tuple[int, int]]], bytes_max: int
) -> None:
    """Of all sizes; the file follows bbolt's rules and gives the rows back."""
    buckets = {
        name: [
            (b"%06d" % number + b"k" * key_size, b"v" * value_size)
            for number, (key_size, value_size) in enumerate(shape)
        ]
        for name, shape in shapes.items()
        if name not in (b"key", b"lease")
    }
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as name:
        store = MvccStore(name + "/state", cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
        try:
            reader = store.snapshot_open()
            data = emit(reader, buckets, 7, bytes_max)
            reader.close()
        finally:
            store.close()
        check(data)
        assert rows_of(data, Path(name)) == {**buckets, b"key": [], b"lease": []}


@pytest.mark.parametrize(("keys", "key_size", "depth"), [(1, 5, 2), (3000, 20, 3), (700, 1500, 9)])
def test_trees_of_any_height(
    store: Driver, tmp_path: Path, keys: int, key_size: int, depth: int
) -> None:
    """Long keys leave a branch few children, and so make high trees."""
    rows = [(b"%0*d" % (key_size, number), b"v" * 10) for number in range(keys)]
    reader = store.store.snapshot_open()
    data = emit(reader, {b"rows": rows})
    reader.close()
    assert check(data) >= depth
    assert rows_of(data, tmp_path)[b"rows"] == rows


def test_it_ends_with_its_snapshot_and_goes_beside_writes(store: Driver, tmp_path: Path) -> None:
    """A thread reads while the loop's thread writes; a closed snapshot is an error, no crash."""
    for number in range(2000):
        store.put(b"k%d" % number, b"v" * 100)
    reader = store.store.snapshot_open()
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(emit(reader, {})))
    thread.start()
    number = 0
    while thread.is_alive() or number < 100:
        store.put(b"k%d" % number, b"other")
        number += 1
    thread.join()
    check(found[0])
    kept = rows_of(found[0], tmp_path)[b"key"]
    assert len(kept) == 2000
    assert all(b"other" not in value for _, value in kept)

    emitter = BboltEmitter(reader, {})
    assert not emitter.measure(1)
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        emitter.measure(1)
