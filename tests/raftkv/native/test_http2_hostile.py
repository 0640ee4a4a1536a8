"""The front end against clients that break the rules: the connection pays, nobody else."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import grpc
import pytest

from raftkv._native.http2 import Limits
from tests.raftkv.native.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    literal,
    message,
    request_headers,
)
from tests.raftkv.native.http2_serving import Serving, serving, until


class Raw:
    """A socket that speaks frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def receive(self) -> tuple[int, int, int, bytes]:
        """Return (kind, flags, stream id, payload) of a frame; IncompleteReadError at EOF."""
        async with asyncio.timeout(5):
            head = await self.reader.readexactly(9)
            length = int.from_bytes(head[:3], "big")
            kind, flags, stream_id = struct.unpack(">BBI", head[3:])
            return kind, flags, stream_id, await self.reader.readexactly(length)

    async def receive_until(self, kind: int) -> tuple[int, int, int, bytes]:
        while (received := await self.receive())[0] != kind:
            pass
        return received

    async def closed(self) -> None:
        """Wait for the server to close the connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await self.receive()


@contextlib.asynccontextmanager
async def raw(front: Serving, begin: bytes = PREFACE + frame(SETTINGS, 0, 0)) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(begin)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def check_still_serving(front: Serving) -> None:
    async with grpc.aio.insecure_channel(front.target) as channel:
        assert await channel.unary_unary("/test.Test/Echo")(b"x") == b"x"


@pytest.mark.parametrize(
    "begin",
    [
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        PREFACE + b"\xff" * 64,
        PREFACE + frame(DATA, 0, 0, b"x"),
        PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 2, b"\x82"),
        PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
        PREFACE + frame(SETTINGS, 0, 0) + frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
        PREFACE + frame(SETTINGS, 0, 0, b"12345"),
    ],
    ids=["preface", "noise", "data-on-0", "even-id", "hpack", "continuation", "settings-size"],
)
async def test_broken_bytes_close_the_connection(begin: bytes) -> None:
    async with serving() as front, raw(front, begin) as client:
        await client.closed()
        await check_still_serving(front)


@pytest.mark.parametrize("cut", [1, 2, 3, 10, 23, 24, 30, 40, 90])
async def test_a_connection_cut_anywhere_leaves_nothing(cut: int) -> None:
    whole = PREFACE + frame(SETTINGS, 0, 0)
    whole += frame(HEADERS, END_HEADERS, 1, request_headers(b"/test.Test/Echo"))
    async with serving() as front:
        async with raw(front, whole[:cut]):
            await until(lambda: front.server.connection_count == 1)
        await until(lambda: front.server.connection_count == 0)


async def test_a_message_in_single_bytes_is_put_together() -> None:
    async with serving() as front, raw(front) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, request_headers(b"/test.Test/Echo")))
        for byte in message(b"slow but whole"):
            client.send(frame(DATA, 0, 1, bytes([byte])))
        client.send(frame(DATA, END_STREAM, 1))
        assert (await client.receive_until(DATA))[3] == message(b"slow but whole")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", b"13", b"EOF"),
        (b"\0\0", b"13", b"unexpected EOF"),
        (b"\0\0\0\0\x09short", b"13", b"unexpected EOF"),
        (message(b"one") + message(b"two"), b"13", b"more than one message"),
        (b"\x07\0\0\0\0", b"13", b"unexpected payload format 7"),
        (b"\0\xff\xff\xff\xff", b"8", b"larger than max (4294967295 vs. 2097152)"),
    ],
)
async def test_broken_messages_are_refused(body: bytes, status: bytes, text: bytes) -> None:
    async with serving() as front, raw(front) as client:
        client.send(
            frame(HEADERS, END_HEADERS, 1, request_headers(b"/test.Test/Echo")),
            frame(DATA, END_STREAM, 1, body),
        )
        _, flags, _, block = await client.receive_until(HEADERS)
        assert flags & END_STREAM
        assert b"grpc-status" in block or status in block
        await check_still_serving(front)


async def test_headers_beyond_the_limit_are_refused() -> None:
    async with serving(Limits(header_list_bytes_max=4096)) as front, raw(front) as client:
        headers = request_headers(b"/test.Test/Echo", *((b"filler", b"v" * 900) for _ in range(8)))
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, headers))
        _, flags, stream_id, _ = await client.receive_until(HEADERS)
        assert stream_id == 1
        assert flags & END_STREAM
        client.send(
            frame(HEADERS, END_HEADERS, 3, request_headers(b"/test.Test/Echo")),
            frame(DATA, END_STREAM, 3, message(b"fits")),
        )
        assert (await client.receive_until(DATA))[3] == message(b"fits")


async def test_endless_continuations_close_the_connection() -> None:
    async with serving() as front, raw(front) as client:
        client.send(frame(HEADERS, 0, 1, request_headers(b"/test.Test/Echo")))
        for _ in range(64):
            client.send(frame(CONTINUATION, 0, 1, literal(b"a", b"b" * 1000)))
        await client.closed()
        await check_still_serving(front)


async def test_a_client_that_never_opens_its_window_costs_a_bounded_queue() -> None:
    limits = Limits(queued_bytes_max=64 << 10)
    no_window = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    async with serving(limits) as front, raw(front, PREFACE + no_window) as client:
        body = message(b"x" * 8000)
        for stream_id in range(1, 41, 2):
            client.send(
                frame(HEADERS, END_HEADERS, stream_id, request_headers(b"/test.Test/Echo")),
                frame(DATA, END_STREAM, stream_id, body),
            )
        ended = 0
        while ended < 12:  # 8 answers of 8,005 bytes fit; the others end with trailers alone
            _, flags, _, _ = await client.receive_until(HEADERS)
            ended += flags & END_STREAM
        await check_still_serving(front)


async def test_announced_but_unsent_messages_are_bounded() -> None:
    limits = Limits(partial_bytes_max=(4 << 20) + 4096)  # headers count, too
    async with serving(limits) as front, raw(front) as client:
        for stream_id in (1, 3, 5):
            client.send(
                frame(HEADERS, END_HEADERS, stream_id, request_headers(b"/test.Test/Echo")),
                frame(DATA, 0, stream_id, b"\0" + struct.pack(">I", 2 << 20) + b"begin"),
            )
        _, flags, stream_id, _ = await client.receive_until(HEADERS)
        assert stream_id == 5
        assert flags & END_STREAM


async def test_rapid_resets_close_the_connection() -> None:
    async with serving(Limits(resets_burst=100, resets_per_s=1)) as front, raw(front) as client:
        for stream_id in range(1, 600, 2):
            client.send(
                frame(HEADERS, END_HEADERS, stream_id, request_headers(b"/test.Test/Keep")),
                frame(RST_STREAM, 0, stream_id, struct.pack(">I", 8)),
            )
        await client.receive_until(GOAWAY)
        await client.closed()


async def test_too_many_pings_get_goaway_and_calm_ones_do_not() -> None:
    async with serving() as front, raw(front) as client:
        for _ in range(3):
            client.send(frame(PING, 0, 0, b"12345678"))
            assert (await client.receive_until(PING))[3] == b"12345678"
        client.send(frame(PING, 0, 0, b"12345678"))
        *_, payload = await client.receive_until(GOAWAY)
        assert payload[4:] == struct.pack(">I", 0xB) + b"too_many_pings"
        await client.closed()


async def test_pings_between_answers_are_no_strikes() -> None:
    async with serving() as front, raw(front) as client:
        for stream_id in range(1, 21, 2):
            client.send(
                frame(PING, 0, 0, b"12345678"),
                frame(HEADERS, END_HEADERS, stream_id, request_headers(b"/test.Test/Echo")),
                frame(DATA, END_STREAM, stream_id, message(b"x")),
            )
            await client.receive_until(DATA)


async def test_streams_beyond_the_limit_are_refused() -> None:
    async with serving(Limits(concurrent_streams_max=4)) as front, raw(front) as client:
        # The client has not acknowledged the limit; with that, it would be a connection error.
        for stream_id in range(1, 13, 2):
            client.send(
                frame(HEADERS, END_HEADERS, stream_id, request_headers(b"/test.Test/Keep")),
                frame(DATA, END_STREAM, stream_id, message(b"x")),
            )
        refused = {(await client.receive_until(RST_STREAM))[2] for _ in range(2)}
        assert refused == {9, 11}
        assert len(front.streams) == 4


async def test_connections_beyond_the_limit_are_closed_at_once() -> None:
    async with serving(Limits(connections_max=2)) as front, raw(front), raw(front):
        await until(lambda: front.server.connection_count == 2)
        async with raw(front) as third:
            await third.closed()
        assert front.server.connection_count == 2


async def test_a_silent_connection_is_closed_after_its_time() -> None:
    async with serving(Limits(preface_timeout_s=0.05)) as front, raw(front, b"P") as client:
        await client.closed()
        await until(lambda: front.server.connection_count == 0)


async def test_other_content_types_over_http2_are_no_grpc() -> None:
    async with serving() as front, raw(front) as client:
        fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/version")]
        block = b"".join(literal(*f) for f in fields) + literal(b":authority", b"x")
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        _, flags, _, body = await client.receive_until(DATA)
        assert body == b'{"version":"1"}'
        assert flags & END_STREAM


async def test_answers_to_many_requests_in_one_read_leave_in_one_write() -> None:
    async with serving() as front, raw(front) as client:
        await client.receive_until(SETTINGS)
        requests = [
            frame(HEADERS, END_HEADERS, stream_id, request_headers(b"/test.Test/Echo"))
            + frame(DATA, END_STREAM, stream_id, message(b"x"))
            for stream_id in range(1, 41, 2)
        ]
        client.send(*requests)
        got = b""
        while got.count(message(b"x")) < 20:
            got += await client.reader.read(1 << 20)
        assert len(got) < 1200
