"""What a client can make the front end hold or compute with few bytes is bounded, too."""

import asyncio
import gzip
import struct
import time
import tracemalloc

import pytest

from raftkv._native.http2 import Limits, MethodTable, Server, Stream
from raftkv.rpc.http1 import Http1Protocol
from raftkv.rpc.http_routes import HttpRoutes
from tests.raftkv.native.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    frame,
    literal,
    message,
    request_headers,
)
from tests.raftkv.native.http2_serving import Serving, serving, until
from tests.raftkv.native.test_http2_blocks import facts, indexing, place
from tests.raftkv.native.test_http2_hostile import check_still_serving, raw

WINDOW_UPDATE = 8
ECHO = request_headers(b"/test.Test/Echo")
PACKED = request_headers(b"/test.Test/Echo", (b"grpc-encoding", b"gzip"))


def packed(body: bytes) -> bytes:
    whole = gzip.compress(body)
    return struct.pack(">BI", 1, len(whole)) + whole


@pytest.mark.parametrize(
    ("headers", "part"),
    [(ECHO, message(b"x" * 40_000)), (PACKED, packed(b"x" * 40_000))],
    ids=["plain", "gzip"],
)
async def test_complete_messages_of_requests_that_do_not_end_are_bounded(
    headers: bytes, part: bytes
) -> None:
    """Two fit, the third does not; one that was served makes room again."""
    async with serving(Limits(partial_bytes_max=100_000)) as front, raw(front) as client:
        for stream_id in (1, 3, 5):
            client.send(frame(HEADERS, END_HEADERS, stream_id, headers))
            client.send(frame(DATA, 0, stream_id, part))
        _, flags, stream_id, _ = await client.receive_until(HEADERS)
        assert stream_id == 5
        assert flags & END_STREAM
        client.send(frame(DATA, END_STREAM, 1))
        assert (await client.receive_until(DATA))[2] == 1
        client.send(frame(HEADERS, END_HEADERS, 7, headers), frame(DATA, 0, 7, part))
        client.send(frame(DATA, END_STREAM, 7))
        while (answer := await client.receive_until(HEADERS))[2] != 7:
            assert answer[2] == 1
        assert not answer[1] & END_STREAM  # not a refusal, which has no other headers


async def test_a_flood_of_window_settings_does_not_look_at_every_stream_each_time() -> None:
    """Twenty thousand open streams, one of which waits for its window."""
    async with serving() as front, raw(front) as client:
        client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 10)))
        client.send(frame(HEADERS, END_HEADERS, 1, ECHO))
        client.send(frame(DATA, END_STREAM, 1, message(b"x" * 50)))
        for stream_id in range(3, 40_003, 2):
            client.send(frame(HEADERS, END_HEADERS, stream_id, ECHO))
        assert len((await client.receive_until(DATA))[3]) == 10
        began_s = time.process_time()
        changes = struct.pack(">HI", 4, 5) + struct.pack(">HI", 4, 6)
        for _ in range(600):
            client.send(frame(SETTINGS, 0, 0, changes * 32))
        client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1000)))
        assert len((await client.receive_until(DATA))[3]) == 45
        assert time.process_time() - began_s < 1.5


async def test_a_window_update_while_the_first_window_is_smaller_is_not_lost() -> None:
    """The update alone opens nothing; with the settings that follow in the same read it does."""
    async with serving() as front, raw(front) as client:
        client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 10)))
        client.send(frame(HEADERS, END_HEADERS, 1, ECHO))
        client.send(frame(DATA, END_STREAM, 1, message(b"x" * 50)))
        assert len((await client.receive_until(DATA))[3]) == 10
        client.send(
            frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
            + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 5))
            + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 10))
        )
        assert len((await client.receive_until(DATA))[3]) == 5


async def test_a_body_in_single_bytes_costs_no_more_than_its_length() -> None:
    async with serving() as front, raw(front) as client:
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/mirror/")]
        client.send(
            frame(HEADERS, END_HEADERS, 1, b"".join(literal(*one) for one in fields)),
        )
        began_s = time.process_time()
        client.send(frame(DATA, 0, 1, b"x") * 400_000, frame(DATA, END_STREAM, 1, b"y"))
        length = 0
        while True:
            kind, flags, _, part = await client.receive()
            if kind != DATA:
                continue
            length += len(part)
            client.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(part) or 1)))
            client.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", len(part) or 1)))
            if flags & END_STREAM:
                break
        assert length > 400_000
        assert time.process_time() - began_s < 2


async def test_small_blocks_that_say_much_are_not_kept() -> None:
    async with serving() as front, raw(front) as client:
        named = request_headers(b"/test.Test/Facts")
        assert b"'a'" in await facts(client, 1, named + indexing(b"a", b"b" * 3900))
        tracemalloc.start()
        try:
            for number in range(8):
                block = named + literal(b"n", b"%d" % number) + place(62) * 15
                client.send(frame(HEADERS, END_HEADERS, 3 + 2 * number, block))
                client.send(frame(DATA, END_STREAM, 3 + 2 * number))
                await client.receive_until(HEADERS)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 300_000


async def test_goaway_is_said_once_to_who_pings_on() -> None:
    async with serving() as front, raw(front) as client:
        client.send(frame(PING, 0, 0, b"12345678") * 100)
        await client.receive_until(GOAWAY)
        rest = await client.reader.read()
        assert rest.count(b"too_many_pings") == 0
        await until(lambda: front.server.connection_count == 0)
        await check_still_serving(front)


async def test_a_body_that_is_cut_short_does_not_look_complete() -> None:
    def broken(stream: Stream, _body: bytes) -> None:
        stream.begin_http(200, b"text/plain")
        stream.send(b"the first part")
        del stream  # the logged traceback keeps this frame
        raise RuntimeError("a handler's mistake")

    server = Server(MethodTable(), lambda: Http1Protocol(HttpRoutes()), None, broken)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server.protocol_factory, "127.0.0.1", 0)
    front = Serving(server, listener.sockets[0].getsockname()[1])
    async with raw(front) as client:
        fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
        block = b"".join(literal(*one) for one in fields)
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        while (received := await client.receive())[0] != RST_STREAM:
            assert received[2] == 0 or not received[1] & END_STREAM
    listener.close()
    await listener.wait_closed()
    server.close()
