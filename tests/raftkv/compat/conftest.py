"""One etcd and one raftkv for all tests of a file, and fresh channels to them for each."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.raftkv.compat.pair import Side, opened, running_pair

PAIR_FLAGS = ["--max-request-bytes=200000"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with running_pair(tmp_path_factory.mktemp("pair"), PAIR_FLAGS) as endpoints:
        yield endpoints


@pytest.fixture
async def same(pair: tuple[str, str]) -> AsyncIterator[list[Side]]:
    """etcd and raftkv, with equal histories so far."""
    async with opened(pair[0]) as etcd, opened(pair[1]) as raftkv:
        yield [Side(etcd), Side(raftkv)]
