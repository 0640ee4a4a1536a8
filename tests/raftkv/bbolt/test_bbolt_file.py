"""Reading bbolt files, above all damaged ones: an error that says where, soon, in little memory."""

import asyncio
import struct
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftkv._native.crc32c import crc32c
from raftkv.bbolt.errors import BboltError
from raftkv.bbolt.file import BboltFile
from raftkv.bbolt.page import HEADER, Meta, Page
from raftkv.bbolt.snapshot_file import HashCheck, open_snapshot, status_of
from tests.raftkv.bbolt.stock_etcd import StockEtcd, fill, stock_binaries
from tests.raftkv.native.mvcc_store_driver import MEMORY_DISK

PAGE = 4096


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a real etcd leaves: free pages, inline buckets, half-empty leaves."""
    directory = tmp_path_factory.mktemp("etcd")
    with StockEtcd(stock_binaries()[-1], directory / "data") as server:
        asyncio.run(fill(server.endpoint))
    return (server.database).read_bytes()


def read_all(data: bytes) -> dict[bytes, int]:
    """Read a file to its end; the number of rows by bucket."""
    with tempfile.NamedTemporaryFile(dir=MEMORY_DISK) as file:
        file.write(data)
        file.flush()
        with BboltFile(Path(file.name)) as opened:
            return {name: sum(1 for _ in opened.rows(name)) for name in opened.buckets}


def sealed(data: bytearray, **fields: int) -> bytes:
    """Change fields of both meta pages and make their checksums good again."""
    names = ["root", "sequence", "free_list", "pages", "transaction"]
    for page in (0, PAGE):
        for name, value in fields.items():
            struct.pack_into("<Q", data, page + 32 + 8 * names.index(name), value)
        total = 0xCBF29CE484222325
        for byte in data[page + 16 : page + 72]:
            total = (total ^ byte) * 0x100000001B3 % (1 << 64)
        struct.pack_into("<Q", data, page + 72, total)
    return bytes(data)


def test_a_database_of_etcd(database: bytes) -> None:
    found = read_all(database)
    assert found[b"key"] > 130
    assert found[b"lease"] == 2
    assert {b"alarm", b"auth", b"cluster", b"meta", b"members"} <= set(found)


def test_either_meta_page_will_do(database: bytes) -> None:
    """One is being written when the power goes: the other holds."""
    for page in (0, PAGE):
        damaged = bytearray(database)
        damaged[page + 40] ^= 0xFF
        assert read_all(bytes(damaged))[b"meta"]
    for byte in (16, 20, 24, 40, 72):
        damaged = bytearray(database)
        damaged[byte] ^= 0x55
        damaged[PAGE + byte] ^= 0x55
        with pytest.raises(BboltError, match="not a bbolt file"):
            read_all(bytes(damaged))


def pages_of(data: bytes, flags: int) -> Iterator[int]:
    for page in range(2, len(data) // PAGE):
        if HEADER.unpack_from(data, page * PAGE)[:2] == (page, flags):
            yield page


def root_of_keys(data: bytes) -> int:
    """The page that the bucket of keys begins with: a branch, and not one that was freed."""
    metas = [Meta.parse(data[at : at + 200]) for at in (0, PAGE)]
    meta = max((one for one in metas if one), key=lambda one: one.transaction)
    root = Page(data[meta.root * PAGE : (meta.root + 1) * PAGE], meta.root)
    value = next(value for _, name, value in root.rows() if name == b"key")
    return int(struct.unpack_from("<Q", value)[0])


def test_cycles_and_strange_pages(database: bytes) -> None:
    """Roots, children and overflows that lead anywhere else are refused by name."""
    size = len(database) // PAGE
    for root, text in (
        (0, "neither"),
        (1, "neither"),
        (size, "cut off|beyond"),
        (1 << 63, "beyond"),
    ):
        with pytest.raises(BboltError, match=text):
            read_all(sealed(bytearray(database), root=root))
    with pytest.raises(BboltError, match="cut off"):
        read_all(sealed(bytearray(database), pages=size + 1))
    with pytest.raises(BboltError, match="beyond"):
        read_all(sealed(bytearray(database), pages=4))
    branch = root_of_keys(database)
    assert branch in pages_of(database, 1)
    child = struct.unpack_from("<Q", database, branch * PAGE + 24)[0]
    for value, text in ((branch, "two places"), (child, "two places"), (1 << 40, "beyond")):
        damaged = bytearray(database)
        struct.pack_into("<Q", damaged, branch * PAGE + 40, value)
        with pytest.raises(BboltError, match=text):
            read_all(bytes(damaged))
    swapped = bytearray(database)
    second = struct.unpack_from("<Q", database, branch * PAGE + 40)[0]
    struct.pack_into("<Q", swapped, branch * PAGE + 24, second)
    struct.pack_into("<Q", swapped, branch * PAGE + 40, child)
    with pytest.raises(BboltError, match="comes after"):
        read_all(bytes(swapped))
    for value, text in ((1 << 31, "overflows"), (size, "beyond|two places")):
        damaged = bytearray(database)
        struct.pack_into("<I", damaged, child * PAGE + 12, value)
        with pytest.raises(BboltError, match=text):
            read_all(bytes(damaged))


def test_rows_do_not_multiply(tmp_path: Path) -> None:
    """Elements that share their bytes would make a small file yield terabytes: refused."""
    count = 200
    page = bytearray(PAGE)
    HEADER.pack_into(page, 0, 3, 2, count, 0)
    for number in range(count):
        at = 16 + 16 * number
        struct.pack_into("<IIII", page, at, 1, 16 + 16 * count - at, 2, PAGE - 16 - 16 * count - 2)
    metas = bytearray(PAGE * 3)
    for number in range(2):
        struct.pack_into("<QHHI", metas, number * PAGE, number, 4, 0, 0)
        struct.pack_into("<IIII", metas, number * PAGE + 16, 0xED0CDAED, 2, PAGE, 0)
    with pytest.raises(BboltError, match="outside of its place"):
        read_all(sealed(metas + page, root=3, pages=4, transaction=1))


interesting = st.sampled_from([0, 1, 2, 3, 0x10, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 63])


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_no_damage_is_too_much(database: bytes, data: st.DataObject) -> None:
    """Bytes flipped, numbers replaced, pages swapped, files cut off: rows or BboltError."""
    damaged = bytearray(database)
    pages = len(damaged) // PAGE
    heads = [0, 1, *pages_of(database, 1), *pages_of(database, 2), pages - 1]
    for _ in range(data.draw(st.integers(1, 4))):
        page = data.draw(st.sampled_from(heads)) % pages
        match data.draw(st.sampled_from(["byte", "number", "swap", "cut"])):
            case "byte":
                damaged[page * PAGE + data.draw(st.integers(0, 200))] ^= data.draw(
                    st.integers(1, 255)
                )
            case "number":
                at = page * PAGE + 4 * data.draw(st.integers(0, 60))
                struct.pack_into("<Q", damaged, at, data.draw(interesting))
            case "swap":
                other = data.draw(st.integers(0, pages - 1))
                one = damaged[page * PAGE : (page + 1) * PAGE]
                damaged[page * PAGE : (page + 1) * PAGE] = damaged[
                    other * PAGE : (other + 1) * PAGE
                ]
                damaged[other * PAGE : (other + 1) * PAGE] = one
            case "cut":
                del damaged[page * PAGE + data.draw(st.integers(0, PAGE - 1)) :]
                damaged.extend(bytes(-len(damaged) % PAGE))
                pages = max(1, len(damaged) // PAGE)
        if not damaged:
            break
    if len(damaged) >= 2 * PAGE and data.draw(st.booleans()):
        fields = data.draw(
            st.dictionaries(st.sampled_from(["root", "pages"]), st.integers(0, 2 * pages))
        )
        sealed(damaged, **fields)
    tracemalloc.start()
    text = ""
    try:
        read_all(bytes(damaged))
    except BboltError as error:
        text = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(text) < 1000
    assert peak < 5 * len(database) + (1 << 20)


def test_crc32c_is_castagnoli() -> None:
    """The check value of the catalogues, in one piece and in two."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283


def test_hash_checks(database: bytes, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(database)
    with pytest.raises(BboltError, match="missing hash"):
        open_snapshot(path)
    with open_snapshot(path, HashCheck.IF_THERE) as file:
        plain = status_of(file)
    path.write_bytes(database + bytes(32))
    for check in (HashCheck.REQUIRED, HashCheck.IF_THERE):
        with pytest.raises(BboltError, match="expected sha256"):
            open_snapshot(path, check)
    with open_snapshot(path, HashCheck.SKIPPED) as file:
        assert status_of(file) == plain
