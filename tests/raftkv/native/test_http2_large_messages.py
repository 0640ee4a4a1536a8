"""Large unary messages that their method wants with room in front of them."""

from __future__ import annotations

import hashlib
from typing import Any

import grpc
import pytest

from raftkv._native.http2 import Limits, Stream
from raftkv._native.padded_message import PaddedMessage
from tests.raftkv.native.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    frame,
    message,
    request_headers,
)
from tests.raftkv.native.http2_serving import Serving, serving, until
from tests.raftkv.native.test_http2_hostile import Raw, check_still_serving, raw

LARGE_BYTES = 32 << 10
PATH = b"/test.Test/Roomy"
HEAD = request_headers(PATH)
HEAD_BYTES = sum(
    len(name) + len(value) + 32
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", PATH),
        (b":authority", b"x"),
        (b"content-type", b"application/grpc"),
    )
)
"""What the headers of one request count for."""
HALVED = 10
BROKEN = -1000


def noise(size: int) -> bytes:
    return hashlib.shake_128(b"%d" % size).digest(size)


class Roomy:
    """Notes what came which way; answers with the way."""

    def __init__(self, front: Serving, room: int = 25) -> None:
        self.room = room
        self.seen: list[tuple[bytes, bytes]] = []
        front.server.methods.unary(PATH, self.on_plain, self)

    def on_plain(self, stream: Stream, message: bytes) -> None:
        self.seen.append((b"plain", message))
        stream.reply(b"plain")

    def headroom(self, size: int) -> int:
        if self.room == BROKEN:
            raise RuntimeError("a handler's mistake")
        return self.room

    def on_large(self, stream: Stream, message: PaddedMessage) -> None:
        assert message.headroom == self.room
        self.seen.append((b"large", message.message()))
        stream.reply(b"large")


async def ask(front: Serving, body: bytes, **options: Any) -> bytes:
    async with grpc.aio.insecure_channel(front.target) as channel:
        answer = await channel.unary_unary(PATH.decode())(body, **options)
        assert isinstance(answer, bytes)
        return answer


async def upload(client: Raw, stream_id: int, body: bytes, piece: int = 16_000) -> None:
    """Send a whole request."""
    client.send(frame(HEADERS, END_HEADERS, stream_id, HEAD))
    data = message(body)
    for at in range(0, len(data), piece):
        client.send(frame(DATA, 0, stream_id, data[at : at + piece]))
    client.send(frame(DATA, END_STREAM, stream_id))
    await client.writer.drain()


async def is_answered(client: Raw) -> bool:
    """Tell whether the next answer has a message: a refusal is trailers alone."""
    if (await client.receive_until(HEADERS))[1] & END_STREAM:
        return False
    assert (await client.receive_until(HEADERS))[1] & END_STREAM, "trailers"
    return True


@pytest.mark.parametrize("size", [0, 1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 2 << 20])
async def test_only_large_messages_have_room(size: int) -> None:
    way = b"large" if size >= LARGE_BYTES else b"plain"
    async with serving() as front:
        roomy = Roomy(front)
        assert await ask(front, noise(size)) == way
        assert roomy.seen == [(way, noise(size))]


@pytest.mark.parametrize("room", [1, 25, 100_000])
@pytest.mark.parametrize("piece", [1, 999, 16_384])
async def test_a_large_message_in_many_frames_is_put_together(room: int, piece: int) -> None:
    body = noise(LARGE_BYTES + (0 if piece == 1 else 70_000))
    async with serving() as front, raw(front) as client:
        roomy = Roomy(front, room)
        await upload(client, 1, body, piece)
        assert await is_answered(client)
        assert roomy.seen == [(b"large", body)]


async def test_no_room_where_the_method_wants_none() -> None:
    async with serving() as front:
        roomy = Roomy(front, room=0)
        assert await ask(front, noise(100_000)) == b"plain"
        assert roomy.seen == [(b"plain", noise(100_000))]


async def test_no_room_in_front_of_what_was_compressed() -> None:
    body = noise(50_000) + bytes(50_000)
    async with serving() as front:
        roomy = Roomy(front)
        assert await ask(front, body, compression=grpc.Compression.Gzip) == b"plain"
        assert roomy.seen == [(b"plain", body)]


async def test_a_message_beyond_the_limit_is_refused() -> None:
    async with serving() as front:
        roomy = Roomy(front)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(front, bytes((2 << 20) + 1))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert roomy.seen == []


@pytest.mark.parametrize("room", [BROKEN, -1, -32_768])
async def test_a_question_for_room_that_fails_costs_its_stream_only(
    room: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as front, raw(front) as client:
        roomy = Roomy(front, room)
        await upload(client, 1, noise(100_000))
        assert not await is_answered(client)
        assert [record.getMessage() for record in caplog.records] == ["handler failed"]
        roomy.room = 25
        await upload(client, 3, noise(100_000))
        assert await is_answered(client)
        assert roomy.seen == [(b"large", noise(100_000))]


@pytest.mark.parametrize("second", [b"two", noise(LARGE_BYTES)])
async def test_a_second_message_is_refused(second: bytes) -> None:
    async with serving() as front, raw(front) as client:
        roomy = Roomy(front)
        client.send(frame(HEADERS, END_HEADERS, 1, HEAD))
        data = message(noise(LARGE_BYTES)) + message(second)
        for at in range(0, len(data), 16_000):
            client.send(frame(DATA, 0, 1, data[at : at + 16_000]))
        assert not await is_answered(client)
        assert roomy.seen == []
        await check_still_serving(front)


async def test_a_connection_cut_inside_a_large_message_leaves_nothing() -> None:
    async with serving() as front:
        roomy = Roomy(front)
        async with raw(front) as client:
            client.send(
                frame(HEADERS, END_HEADERS, 1, HEAD),
                frame(DATA, 0, 1, message(noise(100_000))[:16_000]),
            )
            await until(lambda: front.server.connection_count == 1)
        await until(lambda: front.server.connection_count == 0)
        assert roomy.seen == []


@pytest.mark.parametrize("end", ["reset", "half close", "refused", "whole"])
async def test_what_large_messages_count_for_is_given_back(end: str) -> None:
    """After many of them the connection has room for as much as a fresh one, to the byte."""
    fits = 200_000 - HEAD_BYTES
    async with serving(Limits(partial_bytes_max=200_000)) as front, raw(front) as client:
        roomy = Roomy(front)
        for stream_id in range(1, 2 * HALVED, 2):
            match end:
                case "whole":
                    await upload(client, stream_id, noise(150_000))
                    assert await is_answered(client)
                case "refused":
                    await upload(client, stream_id, noise(fits + 1))
                    assert not await is_answered(client)
                case _:
                    client.send(
                        frame(HEADERS, END_HEADERS, stream_id, HEAD),
                        frame(DATA, 0, stream_id, message(noise(150_000))[:16_000]),
                    )
                    if end == "reset":
                        client.send(frame(RST_STREAM, 0, stream_id, b"\0\0\0\x08"))
                    else:
                        client.send(frame(DATA, END_STREAM, stream_id))
                        assert not await is_answered(client)
        roomy.seen.clear()
        await upload(client, 101, noise(fits))
        assert await is_answered(client)
        await upload(client, 103, noise(fits + 1))
        assert not await is_answered(client)
        assert roomy.seen == [(b"large", noise(fits))]
