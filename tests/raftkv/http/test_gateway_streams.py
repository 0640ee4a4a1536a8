"""Streams of the gateway: requests go in while answers come out, over HTTP/1.1 and HTTP/2."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.http.gateway_requests import b64
from tests.raftkv.http.test_metrics import samples, scrape
from tests.raftkv.native import http2_frames as h2


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as opened:
        yield opened


async def post(session: aiohttp.ClientSession, url: str, **body: object) -> Any:
    async with session.post(url, data=json.dumps(body)) as response:
        return await response.json()


async def line(response: aiohttp.ClientResponse) -> Any:
    return json.loads(await asyncio.wait_for(response.content.readline(), 10))


async def test_a_watch_takes_requests_while_it_answers(
    served: ProcessCluster, session: aiohttp.ClientSession
) -> None:
    """Chunks both ways: a second watcher, a cancellation and progress on an open request."""
    base = f"http://{served.endpoints[0]}/v3"
    requests: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while (piece := await requests.get()) is not None:
            yield piece

    key, other = b64("streams/a"), b64("streams/b")
    requests.put_nowait(b'{"create_request": {"key": "' + key.encode() + b'"')
    requests.put_nowait(b"}}\n")
    async with session.post(f"{base}/watch", data=body()) as response:
        assert response.status == 200
        assert response.headers["transfer-encoding"] == "chunked"
        assert (await line(response))["result"]["created"] is True
        await post(session, f"{base}/kv/put", key=key, value=b64("1"))
        event = (await line(response))["result"]["events"][0]
        assert event["kv"]["key"] == key
        assert "type" not in event  # PUT is zero, and left out
        requests.put_nowait(
            b'{"create_request":{"key":"' + other.encode() + b'"}} {"cancel_request":{}}'
        )
        assert (await line(response))["result"]["watch_id"] == "1"
        assert (await line(response))["result"]["canceled"] is True
        await post(session, f"{base}/kv/deleterange", key=other)
        await post(session, f"{base}/kv/put", key=other)
        await post(session, f"{base}/kv/deleterange", key=other)
        assert "type" not in (await line(response))["result"]["events"][0]
        assert (await line(response))["result"]["events"][0]["type"] == "DELETE"
        requests.put_nowait(b'{"progress_request":{}}')
        assert (await line(response))["result"]["watch_id"] == "-1"
        requests.put_nowait(None)  # who asks no more still listens
        await post(session, f"{base}/kv/put", key=other)
        assert (await line(response))["result"]["events"][0]["kv"]["key"] == other


async def test_a_client_that_goes_away_ends_its_watch(served: ProcessCluster) -> None:
    def streams() -> float:
        return samples(scrape(served.endpoints[0]))["etcd_debugging_mvcc_watch_stream_total"]

    before = streams()
    reader, writer = await asyncio.open_connection(*served.endpoints[0].split(":"))
    body = json.dumps({"create_request": {"key": b64("gone")}})
    writer.write(f"POST /v3/watch HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
    assert b"200 OK" in await reader.readline()
    await until(lambda: streams() == before + 1)
    writer.close()
    await until(lambda: streams() == before)


async def test_a_blocked_lock_ends_with_its_client(
    served: ProcessCluster, session: aiohttp.ClientSession
) -> None:
    base = f"http://{served.endpoints[0]}/v3"
    for lease in ("501", "502"):
        await post(session, f"{base}/lease/grant", TTL="60", ID=lease)
    first = await post(session, f"{base}/lock/lock", name=b64("blocked"), lease="501")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(
            post(session, f"{base}/lock/lock", name=b64("blocked"), lease="502"), 0.3
        )
    await post(session, f"{base}/lock/unlock", key=first["key"])

    async def waiting() -> int:
        found = await post(
            session, f"{base}/kv/range", key=b64("blocked/"), range_end=b64("blocked0")
        )
        return int(found.get("count", 0))

    deadline = asyncio.get_running_loop().time() + 5
    while await waiting():
        assert asyncio.get_running_loop().time() < deadline, "the queue keeps who went away"
        await asyncio.sleep(0.02)


async def test_keep_alive_answers_each_object_and_ends_with_the_body(
    served: ProcessCluster, session: aiohttp.ClientSession
) -> None:
    base = f"http://{served.endpoints[0]}/v3"
    await post(session, f"{base}/lease/grant", TTL="60", ID="600")
    async with session.post(
        f"{base}/lease/keepalive", data='{"ID":"600"}\n{"ID":600}{"ID":"601"}'
    ) as response:
        answers = [json.loads(one)["result"] for one in (await response.text()).splitlines()]
    assert [one.get("TTL") for one in answers] == ["60", "60", None]


async def test_a_snapshot_comes_in_lines(
    served: ProcessCluster, session: aiohttp.ClientSession
) -> None:
    async with session.post(f"http://{served.endpoints[0]}/v3/maintenance/snapshot") as response:
        sizes = [len(json.loads(one)["result"]["blob"]) async for one in response.content]
    assert len(sizes) >= 2


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"create_request":', "unexpected EOF"),
        ("[]", "want an object"),
        ('{"create_request":{"key":"!"}}', "illegal base64"),
    ],
)
async def test_a_malformed_request_ends_a_stream_with_an_error(
    served: ProcessCluster, session: aiohttp.ClientSession, body: str, text: str
) -> None:
    url = f"http://{served.endpoints[0]}/v3/watch"
    async with session.post(url, data=body) as response:
        assert response.status == 400
        assert text in (await response.json())["message"]
    good = json.dumps({"create_request": {"key": b64("x")}})
    async with session.post(url, data=good + body) as response:
        assert "result" in await line(response)
        assert text in (await line(response))["error"]["message"]
        assert await response.content.read() == b""


async def test_streams_and_calls_over_http2(served: ProcessCluster) -> None:
    """Plain HTTP/2 requests beside gRPC: a watch whose body stays open, and a put."""
    reader, writer = await asyncio.open_connection(*served.endpoints[0].split(":"))
    writer.write(h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0))
    watched = json.dumps({"create_request": {"key": b64("h2")}}).encode()
    writer.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, headers(b"/v3/watch")))
    writer.write(h2.frame(h2.DATA, 0, 1, watched[:9]) + h2.frame(h2.DATA, 0, 1, watched[9:]))
    created = await body_line(reader, 1)
    assert created["result"]["created"] is True
    put = json.dumps({"key": b64("h2"), "value": b64("v")}).encode()
    writer.write(h2.frame(h2.HEADERS, h2.END_HEADERS, 3, headers(b"/v3beta/kv/put")))
    writer.write(h2.frame(h2.DATA, h2.END_STREAM, 3, put))
    found: dict[int, Any] = {}
    while set(found) != {1, 3}:
        stream_id, payload = await data_frame(reader)
        if payload:
            found[stream_id] = json.loads(payload)
    assert found[1]["result"]["events"][0]["kv"]["value"] == b64("v")
    assert "header" in found[3]
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def headers(path: bytes) -> bytes:
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
    return b"".join(h2.literal(*one) for one in fields)


async def data_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    while True:
        async with asyncio.timeout(5):
            head = await reader.readexactly(9)
            kind, _, stream_id = struct.unpack(">BBI", head[3:])
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        if kind == h2.DATA:
            return stream_id, payload


async def body_line(reader: asyncio.StreamReader, stream_id: int) -> Any:
    while True:
        found, payload = await data_frame(reader)
        if found == stream_id and payload:
            return json.loads(payload)


async def until(condition: Any, seconds: float = 5.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "condition did not come true"
        await asyncio.sleep(0.02)


async def test_a_large_range_comes_in_pieces(
    served: ProcessCluster, session: aiohttp.ClientSession
) -> None:
    """More than the front end answers at once, by a client that reads slowly."""
    base = f"http://{served.endpoints[0]}/v3"
    value = b64("x" * 100_000)
    for number in range(60):
        await post(session, f"{base}/kv/put", key=b64(f"large/{number:02}"), value=value)
    request = {"key": b64("large/"), "range_end": b64("large0")}
    async with session.post(f"{base}/kv/range", data=json.dumps(request)) as response:
        pieces = []
        async for piece, _ in response.content.iter_chunks():
            pieces.append(piece)
            await asyncio.sleep(0.001)
        found = json.loads(b"".join(pieces))
    assert [one["value"] for one in found["kvs"]] == [value] * 60
    assert found["count"] == "60"
