"""Watches over HTTP: order, resumption, selectors, bookmarks, and their end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from orchestrator.apiserver.config import ApiServerConfig
from orchestrator.apiserver.server import ApiServer
from tests.orchestrator.apiserver.conftest import Etcd, Rest, StartServer, eventually, tls_of
from tests.orchestrator.apiserver.test_resources import MAPS, config_map

MERGE = "application/merge-patch+json"
EVENT_WAIT_S = 10.0


class Stream:
    """The events of one watch."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> dict[str, Any]:
        """Return the next event; EOFError at the end."""
        async with asyncio.timeout(EVENT_WAIT_S):
            line = await self.answer.content.readline()
        if not line:
            raise EOFError
        event: dict[str, Any] = json.loads(line)
        return event

    async def short(self) -> tuple[str, str]:
        """Return the next event as (type, name)."""
        event = await self.next()
        return event["type"], event["object"]["metadata"].get("name", "")


@asynccontextmanager
async def watch(rest: Rest, query: str = "", accept: str = "*/*") -> AsyncIterator[Stream]:
    url = f"{rest.url}{MAPS}?watch=true&{query}"
    async with rest.session.get(url, headers={"Accept": accept}) as answer:
        assert answer.status == 200, await answer.text()
        yield Stream(answer)


async def revision(rest: Rest) -> str:
    _, listing = await rest.get(MAPS)
    found: str = listing["metadata"]["resourceVersion"]
    return found


async def label(rest: Rest, name: str, value: str | None) -> Any:
    patch = {"metadata": {"labels": {"on": value}}}
    code, answer = await rest.call("PATCH", f"{MAPS}/{name}", patch, content_type=MERGE)
    assert code == 200
    return answer


async def test_events_come_in_order_with_their_objects(rest: Rest) -> None:
    async with watch(rest, f"resourceVersion={await revision(rest)}") as stream:
        made = await rest.make(MAPS, config_map("a"))
        changed = await label(rest, "a", "yes")
        await rest.call("DELETE", f"{MAPS}/a")
        assert await stream.next() == {"type": "ADDED", "object": made}
        assert await stream.next() == {"type": "MODIFIED", "object": changed}
        gone = await stream.next()
        assert gone["type"] == "DELETED"
        last, before = gone["object"]["metadata"], changed["metadata"]
        assert int(last.pop("resourceVersion")) > int(before.pop("resourceVersion"))
        assert last == before


@pytest.mark.parametrize("version", ["", "resourceVersion=0"])
async def test_a_watch_without_a_version_begins_with_what_is_there(
    rest: Rest, version: str
) -> None:
    await rest.get(f"{MAPS}?resourceVersion=0")
    for name in "ba":
        await rest.make(MAPS, config_map(name))
    if version:
        await wait_until_cached(rest, 2)
    async with watch(rest, version) as stream:
        assert await stream.short() == ("ADDED", "a")
        assert await stream.short() == ("ADDED", "b")
        await rest.make(MAPS, config_map("c"))
        assert await stream.short() == ("ADDED", "c")


async def wait_until_cached(rest: Rest, count: int) -> None:
    """Wait until a list of any age has `count` items."""

    async def cached() -> bool:
        return len((await rest.get(f"{MAPS}?resourceVersion=0"))[1]["items"]) >= count

    await eventually(cached)


async def test_a_watch_resumes_where_it_left(rest: Rest) -> None:
    start = await revision(rest)
    made = [await rest.make(MAPS, config_map(name)) for name in "abc"]
    async with watch(rest, f"resourceVersion={start}") as stream:
        assert [await stream.short() for _ in "abc"] == [("ADDED", name) for name in "abc"]
    middle = made[0]["metadata"]["resourceVersion"]
    async with watch(rest, f"resourceVersion={middle}") as stream:
        assert [await stream.short() for _ in "bc"] == [("ADDED", name) for name in "bc"]


async def test_selector_transitions_add_and_delete(rest: Rest) -> None:
    await rest.make(MAPS, config_map("a"))
    query = f"labelSelector=on%3Dyes&resourceVersion={await revision(rest)}"
    async with watch(rest, query) as stream:
        await label(rest, "a", "yes")
        await label(rest, "a", "no")
        left = await stream.next(), await stream.next()
        assert [event["type"] for event in left] == ["ADDED", "DELETED"]
        await rest.make(MAPS, config_map("other"))
        await label(rest, "a", "yes")
        assert await stream.short() == ("ADDED", "a")
        await rest.call("DELETE", f"{MAPS}/a")
        assert await stream.short() == ("DELETED", "a")


async def test_one_object_can_be_watched(rest: Rest) -> None:
    query = f"fieldSelector=metadata.name%3Da&resourceVersion={await revision(rest)}"
    async with watch(rest, query) as stream:
        await rest.make(MAPS, config_map("ab"))
        await rest.make(MAPS, config_map("a"))
        assert await stream.short() == ("ADDED", "a")


async def test_initial_events_end_with_a_bookmark(rest: Rest) -> None:
    await rest.make(MAPS, config_map("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with watch(rest, query) as stream:
        assert await stream.short() == ("ADDED", "a")
        bookmark = await stream.next()
        assert bookmark["type"] == "BOOKMARK"
        metadata = bookmark["object"]["metadata"]
        assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(metadata["resourceVersion"]) > 0
        await rest.make(MAPS, config_map("b"))
        assert await stream.short() == ("ADDED", "b")
    code, status = await rest.get(f"{MAPS}?watch=true&sendInitialEvents=true")
    assert (code, status["reason"]) == (422, "Invalid")


async def test_an_old_version_is_an_error_event(rest: Rest) -> None:
    await rest.get(MAPS)
    async with watch(rest, "resourceVersion=1") as stream:
        event = await stream.next()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert event["object"]["reason"] == "Expired"
        with pytest.raises(EOFError):
            await stream.next()


async def test_timeout_ends_the_stream_cleanly(rest: Rest) -> None:
    query = f"timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={await revision(rest)}"
    async with watch(rest, query) as stream:
        assert (await stream.next())["type"] == "BOOKMARK"
        with pytest.raises(EOFError):
            await stream.next()


async def test_bookmarks_move_on_while_others_write(start_server: StartServer) -> None:
    server: ApiServer = await start_server(bookmark_interval_s=0.05)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls_of(server))) as session:
        rest = Rest(session, server.url)
        start = await revision(rest)
        async with watch(rest, f"allowWatchBookmarks=true&resourceVersion={start}") as stream:
            made = await rest.make("/api/v1/namespaces", {"metadata": {"name": "n"}})
            written = int(made["metadata"]["resourceVersion"])
            await server.access.store_of("", "v1", "configmaps").cache.request_progress()
            async with asyncio.timeout(EVENT_WAIT_S):
                while True:
                    event = await stream.next()
                    assert event["type"] == "BOOKMARK"
                    if int(event["object"]["metadata"]["resourceVersion"]) >= written:
                        break


async def test_tables_are_watched_row_by_row(rest: Rest) -> None:
    await rest.make(MAPS, config_map("a", data={"k": "v"}))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with watch(rest, accept=accept) as stream:
        first = (await stream.next())["object"]
        assert first["columnDefinitions"][0]["name"] == "Name"
        assert first["rows"][0]["cells"][:2] == ["a", 1]
        await label(rest, "a", "yes")
        second = (await stream.next())["object"]
        assert not second["columnDefinitions"]
        assert second["rows"][0]["cells"][0] == "a"


async def test_a_watcher_that_falls_behind_is_ended(start_server: StartServer) -> None:
    server: ApiServer = await start_server(watch_queue_events_max=3)
    store = server.access.store_of("", "v1", "configmaps")
    await store.cache.ensure_started()
    watcher = store.cache.watch(store.cache.revision, lambda event: True)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls_of(server))) as session:
        rest = Rest(session, server.url)
        for number in range(5):
            await rest.make(MAPS, config_map(f"c{number}"))
    await eventually(lambda: watcher.ended)
    assert await watcher.next_events(0.01) == []
    assert store.cache.watcher_count == 0


async def test_a_client_that_leaves_is_forgotten(rest: Rest, server: ApiServer) -> None:
    cache = server.access.store_of("", "v1", "configmaps").cache
    async with watch(rest, f"resourceVersion={await revision(rest)}"):
        assert cache.watcher_count == 1
    await eventually(lambda: cache.watcher_count == 0)


@pytest.mark.slow
async def test_a_watch_outlives_the_stores_restart(
    start_server: StartServer, own_etcd: Etcd
) -> None:
    server: ApiServer = await start_server(etcd_endpoints=(own_etcd.client,))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls_of(server))) as session:
        rest = Rest(session, server.url)
        async with watch(rest, f"resourceVersion={await revision(rest)}") as stream:
            await rest.make(MAPS, config_map("before"))
            assert await stream.short() == ("ADDED", "before")
            own_etcd.stop(kill=True)
            await asyncio.to_thread(own_etcd.start)
            await eventually(lambda: answers(rest))
            await rest.make(MAPS, config_map("after"))
            assert await stream.short() == ("ADDED", "after")


async def answers(rest: Rest) -> bool:
    return (await rest.get(f"{MAPS}/before"))[0] == 200


@pytest.mark.slow
async def test_a_server_waits_for_its_store_and_is_not_ready_before(
    config: ApiServerConfig, own_etcd: Etcd
) -> None:
    own_etcd.stop()
    server = ApiServer(replace(config, etcd_endpoints=(own_etcd.client,)))
    starting = asyncio.create_task(server.start())
    try:
        await eventually(lambda: server.port != 0)
        connector = aiohttp.TCPConnector(ssl=tls_of(server))
        async with aiohttp.ClientSession(connector=connector) as session:
            rest = Rest(session, server.url)
            code, text = await rest.get("/readyz/bootstrap")
            assert (code, "not there yet" in text) == (500, True)
            await asyncio.to_thread(own_etcd.start)
            await starting
            assert (await rest.get("/readyz"))[0] == 200
    finally:
        starting.cancel()
        await server.stop()


@pytest.mark.slow
async def test_reads_and_writes_say_that_the_store_is_away(
    start_server: StartServer, own_etcd: Etcd
) -> None:
    server: ApiServer = await start_server(etcd_endpoints=(own_etcd.client,))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls_of(server))) as session:
        rest = Rest(session, server.url)
        own_etcd.stop(kill=True)
        code, status = await rest.get(f"{MAPS}/x")
        assert (code, status["reason"]) == (503, "ServiceUnavailable")
        assert (await rest.get("/livez"))[0] == 200
        assert (await rest.get("/readyz"))[0] == 500
