"""The watch cache on a real store: a window without gaps, through compaction too."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator.apiserver.storage import RevisionClock, Storage
from orchestrator.apiserver.watch_cache import Expired, WatchCache, Watcher
from raftkv.client import Client, UnavailableError
from tests.orchestrator.apiserver.conftest import Etcd, eventually

_roots = itertools.count()
WINDOW = 8


@asynccontextmanager
async def running_cache(client: Client) -> AsyncIterator[WatchCache]:
    storage = Storage(client, RevisionClock())
    prefix = b"/cache-test/%d/" % next(_roots)
    cache = WatchCache(storage, prefix, window_max=WINDOW, queue_max=100)
    await cache.ensure_started()
    try:
        yield cache
    finally:
        await cache.stop()


@pytest.fixture
async def cache(etcd: str) -> AsyncIterator[WatchCache]:
    async with Client([etcd]) as client, running_cache(client) as cache:
        yield cache


def storage_of(cache: WatchCache) -> Storage:
    return cache._storage


async def put(cache: WatchCache, name: str, value: int = 0) -> int:
    """Write one object past the cache; return its revision."""
    key = cache.prefix + name.encode()
    storage = storage_of(cache)
    obj: dict[str, Any] = {"metadata": {"name": name}, "value": value}

    async def change(_: Any) -> Any:
        return obj

    if await storage.get(key) is None:
        return (await storage.create(key, obj)).revision
    return (await storage.update(key, change)).revision


def watch(cache: WatchCache, after: int) -> Watcher:
    return cache.watch(after, lambda event: True)


async def collect(watcher: Watcher, count: int) -> list[int]:
    """Return the revisions of the next `count` events."""
    found: list[int] = []
    while len(found) < count:
        events = await watcher.next_events(10)
        assert events, "no event came"
        found += [event.revision for event in events]
    return found


async def test_every_event_once_and_in_order(cache: WatchCache) -> None:
    watcher = watch(cache, cache.revision)
    written = [await put(cache, f"o{i % 3}", i) for i in range(6)]
    assert await collect(watcher, 6) == written
    late = watch(cache, written[2])
    assert await collect(late, 3) == written[3:]


async def test_the_window_is_bounded(cache: WatchCache) -> None:
    start = cache.revision
    written = [await put(cache, "o", i) for i in range(WINDOW + 2)]
    await eventually(lambda: cache.revision >= written[-1])
    with pytest.raises(Expired, match="too old resource version"):
        watch(cache, start)
    assert await collect(watch(cache, written[1]), WINDOW) == written[2:]


async def test_state_follows_the_store(cache: WatchCache) -> None:
    for name in "cab":
        revision = await put(cache, name)
    await eventually(lambda: cache.revision >= revision)
    assert [stored.key[-1:] for stored in cache.snapshot(cache.prefix)] == [b"a", b"b", b"c"]
    stored = cache.get(cache.prefix + b"a")
    assert stored is not None
    assert cache.known(stored.key, stored.revision) is stored
    assert cache.known(stored.key, stored.revision + 1) is None
    await storage_of(cache).delete(stored.key, stored.revision)
    await eventually(lambda: cache.get(cache.prefix + b"a") is None)


async def test_a_listing_again_ends_watchers_and_refreshes(cache: WatchCache) -> None:
    revision = await put(cache, "o")
    await eventually(lambda: cache.revision >= revision)
    watcher = watch(cache, cache.revision)
    await cache._relist()
    assert watcher.ended
    assert await watcher.next_events(0.01) == []
    assert len(cache.snapshot(cache.prefix)) == 1
    with pytest.raises(Expired):
        watch(cache, revision - 1)


async def reachable(client: Client) -> bool:
    try:
        await client.get(b"any")
    except UnavailableError:
        return False
    return True


@pytest.mark.slow
async def test_compaction_costs_the_watchers_of_a_quiet_kind_nothing(own_etcd: Etcd) -> None:
    """The store's watch must resume below the compacted revision; progress knows a later one."""
    async with Client([own_etcd.client]) as client, running_cache(client) as cache:
        await put(cache, "o")
        await eventually(lambda: cache.get(cache.prefix + b"o") is not None)
        watcher = watch(cache, cache.revision)
        writes = [await client.put(b"elsewhere", b"") for _ in range(3)]
        elsewhere = writes[-1].header.revision

        async def caught_up() -> bool:
            await cache.request_progress()
            return cache.revision >= elsewhere

        await eventually(caught_up)
        await client.compact(elsewhere)
        own_etcd.stop(kill=True)
        await asyncio.to_thread(own_etcd.start)
        await eventually(lambda: reachable(client))
        written = await put(cache, "p")
        assert await collect(watcher, 1) == [written]


async def test_stopping_ends_watchers(cache: WatchCache) -> None:
    watcher = watch(cache, cache.revision)
    await cache.stop()
    assert watcher.ended
