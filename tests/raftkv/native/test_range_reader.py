"""A large range in pieces is, byte for byte, what `range` answers at once."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftkv._native.mvcc_store import MvccStore
from raftkv._native.range_reader import RangeReader
from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, Driver

TERM = 5


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    store = MvccStore(str(tmp_path), cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=1 << 30)
    yield Driver(store)
    store.close()


def in_pieces(
    store: MvccStore, request: pb.RangeRequest, keys: int, size: int, between: Callable[[], object]
) -> bytes:
    """Read with slices of `keys` keys and pieces of `size` bytes; call `between` after each."""
    reader = RangeReader(store, request.SerializeToString(), TERM)
    while not reader.measure(keys):
        between()
    pieces = []
    while (piece := reader.read(size, keys)) is not None:
        pieces.append(piece)
        between()
    answer = b"".join(pieces)
    assert len(answer) == reader.size
    return answer


REQUESTS: tuple[dict[str, Any], ...] = (
    {},
    {"limit": 7},
    {"limit": 200},
    {"keys_only": True},
    {"count_only": True},
    {"revision": 60},
    {"min_mod_revision": 40, "max_mod_revision": 90},
    {"min_create_revision": 20, "limit": 5},
    {"sort_order": pb.RangeRequest.ASCEND, "sort_target": pb.RangeRequest.KEY},
)


@pytest.mark.parametrize("options", REQUESTS, ids=str)
@pytest.mark.parametrize("range_end", [b"k/08", b"\0", b"a"])
def test_pieces_make_the_answer(driver: Driver, options: dict[str, Any], range_end: bytes) -> None:
    chance = random.Random(1)
    for _ in range(120):
        driver.put(b"k/%02d" % chance.randrange(99), bytes(chance.randrange(400)))
        if chance.random() < 0.2:
            driver.delete(b"k/%02d" % chance.randrange(99))
    request = pb.RangeRequest(key=b"k/", range_end=range_end, **options)
    whole = driver.store.range(request.SerializeToString(), TERM)
    for keys, size in ((1, 1), (7, 1000), (1000, 1 << 20)):
        assert in_pieces(driver.store, request, keys, size, lambda: None) == whole


def test_writes_and_flushes_in_between_do_not_show(driver: Driver) -> None:
    for number in range(50):
        driver.put(b"k/%02d" % number, b"old")
    request = pb.RangeRequest(key=b"k/", range_end=b"k0")
    whole = driver.store.range(request.SerializeToString(), TERM)
    chance = random.Random(2)

    def disturb() -> None:
        driver.put(b"k/%02d" % chance.randrange(99), b"new")
        driver.delete(b"k/%02d" % chance.randrange(99))
        driver.store.flush()

    assert in_pieces(driver.store, request, 3, 10, disturb) == whole


def test_a_compaction_that_passes_the_revision_ends_the_reading(driver: Driver) -> None:
    for number in range(9):
        driver.put(b"k/%d" % number, b"x")
    request = pb.RangeRequest(key=b"k/", range_end=b"k0").SerializeToString()
    reader = RangeReader(driver.store, request, TERM)
    reader.measure(100)
    driver.compact(reader.revision)
    assert reader.read(1, 1) is not None
    driver.put(b"k/9")
    driver.compact(reader.revision + 1)
    with pytest.raises(StoreError) as raised:
        reader.read(1, 1)
    assert raised.value.code is ErrorCode.COMPACTED


def test_a_range_is_small_until_it_has_many_keys_or_bytes(driver: Driver) -> None:
    request = pb.RangeRequest(key=b"k/", range_end=b"k0").SerializeToString()
    for number in range(3):
        assert driver.store.small_range(request, TERM) == driver.store.range(request, TERM)
        driver.put(b"k/%d" % number, bytes(1 << 20))
    assert driver.store.small_range(request, TERM) is None
    one = pb.RangeRequest(key=b"k/1").SerializeToString()
    assert driver.store.small_range(one, TERM) == driver.store.range(one, TERM)
    with pytest.raises(ValueError, match="order of keys"):
        RangeReader(driver.store, one, TERM)
