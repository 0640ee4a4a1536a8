"""Limits that flags set, and what a flag times: a real etcd and raftkv given the same flags."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raftkv.errors import ErrorCode
from tests.raftkv.compat.pair import Side, both_answer, get, grant, opened, put, running_pair, txn
from tests.raftkv.compat.test_errors import status_of
from tests.raftkv.compat.test_watch_options import Watching, plain, watching

pytestmark = pytest.mark.slow

FLAGS = [
    "--max-txn-ops=3",
    "--max-request-bytes=1000",
    "--election-timeout=4000",
    "--heartbeat-interval=100",
    "--experimental-watch-progress-notify-interval=200ms",
]


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[list[Side]]:
    with running_pair(tmp_path, FLAGS) as (etcd, raftkv):
        async with opened(etcd) as one, opened(raftkv) as other:
            yield [Side(one), Side(other)]


async def notified(watch: Watching) -> list[str]:
    """Return two notifications of a quiet watcher."""
    await watch.create(b"quiet", progress_notify=True, watch_id=3)
    await watch.create(b"not asked")
    told: list[str] = []
    async with asyncio.timeout(10):
        while len(told) < 2:
            response = await watch.next()
            if not response.created:
                assert not response.events
                told.append(plain(response))
    return told


async def test_limits_and_intervals(limited: list[Side]) -> None:
    """Three operations, 1000 bytes, leases of six seconds at least, news every 200 ms."""
    told = await both_answer(
        limited,
        [
            put(b"a"),
            txn([], [get(b"%d" % n) for n in range(3)]),
            txn([], [get(b"%d" % n) for n in range(4)]),
            txn([], [get(b"1"), txn([], [get(b"2")] * 2)]),
            put(b"a", b"x" * 900),
            put(b"a", b"x" * 1000),
            grant(7, 1),
        ],
    )
    assert told[2] == status_of(ErrorCode.TOO_MANY_OPS)
    assert told[5] == status_of(ErrorCode.REQUEST_TOO_LARGE)
    assert "TTL: 6" in told[6], "one and a half election timeouts"
    news = []
    for side in limited:
        async with watching(side) as watch:
            news.append(await notified(watch))
    assert news[1] == news[0]
