"""An informer's store follows a server through watches that end, break and expire."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import CONFIG_MAP
from orchestrator.client.config import ClientConfig
from orchestrator.client.errors import ServerUnreachableError
from orchestrator.client.informer import EventHandler, Informer
from orchestrator.client.rest_client import RestClient


def config_map(name: str, version: int) -> JsonObject:
    return {
        "metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)},
        "data": {},
    }


EXPIRED = {"type": "ERROR", "object": StatusError(410, "Expired", "too old").to_status()}


class ScriptedServer:
    """Answers lists with `items` and each watch with the next script of lines, then silence."""

    def __init__(self) -> None:
        self.items: list[JsonObject] = []
        self.revision = 10
        self.watches: list[list[JsonObject] | int] = []
        self.requests: list[dict[str, str]] = []
        self.released = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.requests.append(query)
        if "watch" not in query:
            metadata = {"resourceVersion": str(self.revision)}
            return web.json_response({"metadata": metadata, "items": self.items})
        script = self.watches.pop(0) if self.watches else None
        if isinstance(script, int):
            return web.json_response(
                StatusError(script, "Internal", "no").to_status(), status=script
            )
        response = web.StreamResponse()
        await response.prepare(request)
        for line in script or []:
            await response.write(orjson.dumps(line) + b"\n")
        if script is None:
            await self.released.wait()
        return response


@asynccontextmanager
async def serving(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[RestClient]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with RestClient(ClientConfig(f"http://127.0.0.1:{port}")) as client:
            yield client
    finally:
        await runner.cleanup()


class Sightings:
    """What handlers were told, as short words."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.handler = EventHandler(
            lambda obj: self.seen.append(f"+{obj['metadata']['name']}"),
            lambda _, obj: self.seen.append(f"~{obj['metadata']['name']}"),
            lambda obj: self.seen.append(f"-{obj['metadata']['name']}"),
        )

    async def become(self, expected: list[str]) -> None:
        async with asyncio.timeout(5):
            while self.seen != expected:
                await asyncio.sleep(0.002)


@asynccontextmanager
async def informing(server: ScriptedServer) -> AsyncIterator[tuple[Informer, Sightings]]:
    async with serving(server.handle) as client:
        informer = Informer(client, CONFIG_MAP, random_source=random.Random(1))
        sightings = Sightings()
        informer.add_handler(sightings.handler)
        running = asyncio.ensure_future(informer.run())
        try:
            yield informer, sightings
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            server.released.set()


async def test_list_then_watch() -> None:
    server = ScriptedServer()
    server.items = [config_map("a", 5)]
    server.watches = [
        [
            {"type": "ADDED", "object": config_map("b", 11)},
            {"type": "MODIFIED", "object": config_map("a", 12)},
            {"type": "DELETED", "object": config_map("b", 13)},
        ]
    ]
    async with informing(server) as (informer, sightings):
        await sightings.become(["+a", "+b", "~a", "-b"])
        assert informer.synced.is_set()
        assert [obj["metadata"]["name"] for obj in informer.lister.list("default")] == ["a"]
        assert informer.lister.list("elsewhere") == []
        with pytest.raises(StatusError, match='configmaps "b" not found'):
            informer.lister.get("default", "b")


async def test_a_handler_that_raises_stops_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = ScriptedServer()
    server.items = [config_map("a", 5), config_map("b", 6)]

    def refuse(obj: JsonObject) -> None:
        raise ValueError(obj["metadata"]["name"])

    async with serving(server.handle) as client:
        informer = Informer(client, CONFIG_MAP)
        sightings = Sightings()
        informer.add_handler(EventHandler(on_add=refuse))
        informer.add_handler(sightings.handler)
        informer.replace(server.items)
    assert sightings.seen == ["+a", "+b"]
    assert caplog.text.count("handler failed") == 2


async def test_resumes_where_the_last_watch_ended_bookmarks_included() -> None:
    server = ScriptedServer()
    bookmark = {"metadata": {"resourceVersion": "40"}}
    server.watches = [
        [{"type": "ADDED", "object": config_map("a", 11)}],
        [{"type": "BOOKMARK", "object": bookmark}],
        [{"type": "ADDED", "object": config_map("b", 41)}],
    ]
    async with informing(server) as (_, sightings):
        await sightings.become(["+a", "+b"])
    watches = [query["resourceVersion"] for query in server.requests if "watch" in query]
    assert watches[:3] == ["10", "11", "40"]
    assert sum("watch" not in query for query in server.requests) == 1


async def test_expired_version_lists_again_and_tells_the_difference() -> None:
    server = ScriptedServer()
    server.items = [config_map("kept", 5), config_map("changed", 6), config_map("gone", 7)]
    server.watches = [[EXPIRED]]
    async with informing(server) as (_, sightings):
        await sightings.become(["+kept", "+changed", "+gone"])
        server.items = [config_map("kept", 5), config_map("changed", 20), config_map("new", 21)]
        server.revision = 30
        await sightings.become(["+kept", "+changed", "+gone", "~changed", "+new", "-gone"])


async def test_a_refused_watch_is_retried_without_a_new_list() -> None:
    server = ScriptedServer()
    server.watches = [500, 503, [{"type": "ADDED", "object": config_map("a", 11)}]]
    async with informing(server) as (_, sightings):
        await sightings.become(["+a"])
    assert sum("watch" not in query for query in server.requests) == 1


async def test_errors_of_the_server_are_status_errors() -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        status = StatusError(404, "NotFound", 'configmaps "x" not found').to_status()
        return web.json_response(status, status=404)

    async with serving(refuse) as client:
        with pytest.raises(StatusError) as caught:
            await client.get(CONFIG_MAP, "default", "x")
    assert (caught.value.code, caught.value.reason) == (404, "NotFound")


async def test_a_server_that_says_when_to_come_back_is_asked_again() -> None:
    calls = 0

    async def busy_once(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls == 1:
            status = StatusError(429, "TooManyRequests", "slow").to_status()
            return web.json_response(status, status=429, headers={"Retry-After": "0"})
        return web.json_response(config_map("x", 1))

    async with serving(busy_once) as client:
        assert (await client.get(CONFIG_MAP, "default", "x"))["metadata"]["name"] == "x"
    assert calls == 2


async def test_no_server_is_unreachable() -> None:
    async with RestClient(ClientConfig("http://127.0.0.1:1")) as client:
        with pytest.raises(ServerUnreachableError):
            await client.get(CONFIG_MAP, "default", "x")
