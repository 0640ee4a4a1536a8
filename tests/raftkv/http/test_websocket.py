"""Gateway calls over a WebSocket, with aiohttp's client and with frames that break the rules."""

import asyncio
import json
import random

import aiohttp
import pytest

from raftkv.rpc.websocket_frames import PING, TEXT, FrameReader, Message, WebSocketError, frame
from raftkv.testing.process_cluster import ProcessCluster
from tests.raftkv.http.gateway_requests import b64
from tests.raftkv.http.test_gateway_streams import until
from tests.raftkv.http.test_metrics import samples, scrape


def streams(served: ProcessCluster) -> float:
    return samples(scrape(served.endpoints[0]))["etcd_debugging_mvcc_watch_stream_total"]


async def test_a_browser_can_watch(served: ProcessCluster) -> None:
    base = f"http://{served.endpoints[0]}/v3"
    before = streams(served)
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{base}/watch", protocols=("Bearer", "unused")) as socket:
            assert socket.protocol == "Bearer"
            await socket.send_json({"create_request": {"key": b64("ws")}})
            assert (await socket.receive_json(timeout=5))["result"]["created"] is True
            await socket.ping()
            await session.post(f"{base}/kv/put", data=json.dumps({"key": b64("ws")}))
            event = await socket.receive_json(timeout=5)
            assert event["result"]["events"][0]["kv"]["key"] == b64("ws")
            assert streams(served) == before + 1
        await until(lambda: streams(served) == before)


async def test_a_call_that_is_no_stream_is_one_message_each_way(served: ProcessCluster) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{served.endpoints[0]}/v3/kv/range") as socket,
    ):
        await socket.send_json({"key": b64("none")})
        assert "header" in await socket.receive_json(timeout=5)
        assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE


async def test_errors_are_messages_too(served: ProcessCluster) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"http://{served.endpoints[0]}/v3/watch") as socket:
            await socket.send_str("[]")
            assert (await socket.receive_json(timeout=5))["code"] == 3
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(f"http://{served.endpoints[0]}/v3/nothing")
        assert caught.value.status == 404


async def test_an_unmasked_frame_ends_the_connection(served: ProcessCluster) -> None:
    reader, writer = await asyncio.open_connection(*served.endpoints[0].split(":"))
    writer.write(
        b"GET /v3/watch HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        + frame(TEXT, b"{}")
    )
    answer = await asyncio.wait_for(reader.read(), 5)
    assert b"101 Switching Protocols" in answer
    assert (1002).to_bytes(2, "big") in answer
    writer.close()
    await writer.wait_closed()


def masked(opcode: int, content: bytes, final: bool = True) -> bytes:
    """A frame as a client sends it."""
    plain = frame(opcode, content)
    head = plain[: len(plain) - len(content)]
    mask = b"\x01\x02\x03\x04"
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(content))
    return bytes([head[0] if final else head[0] & 0x7F, head[1] | 0x80]) + head[2:] + mask + body


def test_messages_are_put_together_wherever_the_pieces_end() -> None:
    chance = random.Random(1)
    sent = (
        masked(TEXT, b"one")
        + masked(TEXT, b"t", final=False)
        + masked(PING, b"?")
        + masked(0, b"wo")
        + masked(TEXT, b"x" * 70_000)
        + masked(TEXT, b"y" * 300)
    )
    reader, found = FrameReader(100_000), []
    while sent:
        size = chance.choice([1, 2, 7, 5000])
        found += reader.push(sent[:size])
        sent = sent[size:]
    assert found == [
        Message(TEXT, b"one"),
        Message(PING, b"?"),
        Message(TEXT, b"two"),
        Message(TEXT, b"x" * 70_000),
        Message(TEXT, b"y" * 300),
    ]


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"x"),
        masked(0, b"x"),
        masked(3, b"x"),
        masked(PING, b"x" * 126),
        masked(PING, b"x", final=False),
        masked(TEXT, b"x", final=False) + masked(TEXT, b"x"),
        b"\xf1\x80\0\0\0\0",
        masked(TEXT, b"x" * 2000),
        masked(TEXT, b"x" * 900, final=False) + masked(0, b"x" * 900),
    ],
)
def test_frames_that_break_the_rules_are_refused(sent: bytes) -> None:
    with pytest.raises(WebSocketError):
        FrameReader(1000).push(sent)
