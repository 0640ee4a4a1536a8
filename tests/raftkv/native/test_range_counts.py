"""Counts are the twin's, whatever was counted before and is remembered of it."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftkv._native.count_walk import counted_keys
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.mvcc_store_reference import MvccStoreReference
from raftkv._native.range_counts import set_grain
from raftkv._native.range_reader import RangeReader
from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.native.mvcc_store_driver import CLUSTER_ID, MEMBER_ID, Driver

TERM = 5
KEYS = [b"k/%02d" % number for number in range(40)] + [b"k/07" + b"x" * 600]
HISTORY = 240


@pytest.fixture(autouse=True)
def every_other_key() -> Iterator[None]:
    before = set_grain(2)
    yield
    set_grain(before)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Driver, Driver]]:
    """A store with a history in all three layers, and its twin with the same."""
    path = tmp_path_factory.mktemp("counts")
    store = MvccStore(str(path), cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=1 << 30)
    twin = MvccStoreReference(cluster_id=CLUSTER_ID, member_id=MEMBER_ID)
    native, plain = Driver(store), Driver(twin)
    chance = random.Random(4)
    for number in range(HISTORY):
        key = chance.choice(KEYS)
        deletes = chance.random() < 0.4
        for one in (native, plain):
            one.delete(key) if deletes else one.put(key, b"v")
        if number in (100, 180):
            store.flush()
    yield native, plain
    store.close()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    store = MvccStore(str(tmp_path), cluster_id=CLUSTER_ID, member_id=MEMBER_ID, map_size=1 << 30)
    yield Driver(store)
    store.close()


BOUNDS = st.sampled_from([*KEYS[::3], b"k/", b"k/07", b"k0", b"\0", b"k/205"])
ASKED = st.builds(
    pb.RangeRequest,
    key=BOUNDS,
    range_end=BOUNDS,
    limit=st.sampled_from([0, 1, 2, 5, 30]),
    revision=st.sampled_from([0, 0, 60, 61, 150, 230]),
    count_only=st.booleans(),
    min_mod_revision=st.sampled_from([0, 0, 0, 70]),
)


@given(asked=st.lists(ASKED, min_size=1, max_size=12), keys=st.integers(1, 9))
@settings(max_examples=120, deadline=None)
def test_counts_are_those_of_the_twin(
    pair: tuple[Driver, Driver], asked: list[pb.RangeRequest], keys: int
) -> None:
    native, plain = pair
    for request in asked:
        message = request.SerializeToString()
        expected = plain.store.range(message, TERM)
        assert native.store.range(message, TERM) == expected
        if not isinstance(expected, bytes) or not request.range_end:
            continue
        reader = RangeReader(native.store, message, TERM)
        while not reader.measure(keys):
            pass
        pieces = []
        while (piece := reader.read(50, keys)) is not None:
            pieces.append(piece)
        assert b"".join(pieces) == expected
        assert reader.size == len(expected)


def test_a_write_changes_the_newest_count(driver: Driver) -> None:
    request = pb.RangeRequest(key=b"k/", range_end=b"k0", limit=3)
    chance = random.Random(5)
    alive = set[bytes]()
    for _ in range(200):
        key = chance.choice(KEYS)
        if key in alive and chance.random() < 0.5:
            driver.delete(key)
            alive.discard(key)
        else:
            driver.put(key, b"v")
            alive.add(key)
        answer = driver.store.range(request.SerializeToString(), TERM)
        assert isinstance(answer, bytes)
        assert pb.RangeResponse.FromString(answer).count == len(alive)


def test_a_range_in_a_transaction_counts_what_it_has_written(driver: Driver) -> None:
    for key in KEYS:
        driver.put(key, b"v")
    counts = pb.RangeRequest(key=b"k/", range_end=b"k0", count_only=True)
    deletes = [pb.DeleteRangeRequest(key=key) for key in (KEYS[0], KEYS[9])]
    response = driver.txn(success=[counts, *deletes, counts])
    assert response.responses[0].response_range.count == len(KEYS)
    assert response.responses[3].response_range.count == len(KEYS) - 2
    answer = driver.store.range(counts.SerializeToString(), TERM)
    assert isinstance(answer, bytes)
    assert pb.RangeResponse.FromString(answer).count == len(KEYS) - 2


def test_pages_do_not_count_the_whole_range_each(driver: Driver) -> None:
    """All pages of a list, at a revision that all keys have left behind, cost about one count."""
    set_grain(128)
    keys = [b"k/%06d" % number for number in range(20_000)]
    for _ in range(2):
        for key in keys:
            driver.put(key, b"v")
        driver.store.flush()

    def page(key: bytes) -> int:
        """Return how many keys were counted for a page."""
        request = pb.RangeRequest(key=key, range_end=b"k0", limit=1, revision=len(keys) + 1)
        before = counted_keys()
        answer = driver.store.range(request.SerializeToString(), TERM)
        assert isinstance(answer, bytes)
        assert pb.RangeResponse.FromString(answer).count == len(keys) - int(key[2:])
        return counted_keys() - before

    assert page(keys[0]) > len(keys) / 2
    assert max(page(key) for key in keys[::1000]) <= 128
