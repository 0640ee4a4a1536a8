"""Events are posted, and counted up where they repeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from aiohttp import web

from orchestrator.api.json_object import JsonObject
from orchestrator.client.config import ClientConfig
from orchestrator.client.event_recorder import QUEUE_SIZE_MAX, REPEAT_WITHIN, EventRecorder
from orchestrator.client.rest_client import RestClient

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "uid": "u"}}


class EventServer:
    """Keeps what is posted and patched, by name."""

    def __init__(self) -> None:
        self.events: dict[str, JsonObject] = {}
        self.writes = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.writes += 1
        if request.method == "POST":
            assert request.path == "/api/v1/namespaces/ns/events"
            self.events[body["metadata"]["name"]] = body
            return web.json_response(body, status=201)
        event = self.events[request.path.rsplit("/", 1)[-1]]
        event.update(body)
        return web.json_response(event)

    async def written(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.writes < count:
                await asyncio.sleep(0.002)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def recording() -> AsyncIterator[tuple[EventServer, EventRecorder, Clock]]:
    server, clock = EventServer(), Clock()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with RestClient(ClientConfig(url)) as client:
            recorder = EventRecorder(client, "test", clock, host="n")
            running = asyncio.ensure_future(recorder.run())
            try:
                yield server, recorder, clock
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
    finally:
        await runner.cleanup()


async def test_an_event_says_what_happened_to_whom() -> None:
    async with recording() as (server, recorder, _):
        recorder.event(POD, "Warning", "Failed", "it failed", "spec.containers{c}")
        await server.written(1)
    (event,) = server.events.values()
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "p",
        "namespace": "ns",
        "uid": "u",
        "fieldPath": "spec.containers{c}",
    }
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "Failed", 1)
    assert event["source"] == {"component": "test", "host": "n"}
    assert event["metadata"]["name"].startswith("p.")


async def test_repeats_are_counted_until_they_pause() -> None:
    async with recording() as (server, recorder, clock):
        for _ in range(3):
            recorder.event(POD, "Normal", "Pulled", "again")
            clock.now += timedelta(seconds=1)
        recorder.event(POD, "Normal", "Pulled", "otherwise")
        await server.written(4)
        assert sorted(event["count"] for event in server.events.values()) == [1, 3]
        clock.now += REPEAT_WITHIN + timedelta(seconds=1)
        recorder.event(POD, "Normal", "Pulled", "again")
        await server.written(5)
    assert len(server.events) == 3


async def test_recording_never_blocks() -> None:
    async with RestClient(ClientConfig("http://127.0.0.1:1")) as client:
        recorder = EventRecorder(client, "test", Clock())
        for number in range(QUEUE_SIZE_MAX + 10):
            recorder.event(POD, "Normal", "Pulled", str(number))
