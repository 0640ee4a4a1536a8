"""What all connections share, silent clients, large answers, and Unix sockets."""

import asyncio
import struct
from pathlib import Path

import grpc
import pytest

from raftkv._native.http2 import Limits, MethodTable, Server, Stream
from raftkv.rpc.http1 import Http1Protocol
from raftkv.rpc.http_routes import HttpRoutes
from tests.raftkv.native.http2_frames import (
    ACK,
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
from tests.raftkv.native.http2_serving import serving, until
from tests.raftkv.native.test_http2_hostile import check_still_serving, raw

KEEP = request_headers(b"/test.Test/Keep")
ECHO = request_headers(b"/test.Test/Echo")
NO_WINDOW = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))


async def test_headers_of_open_requests_are_bounded() -> None:
    """Forty thousand bytes of headers pass; many streams of them do not."""
    large = request_headers(b"/test.Test/Keep", *((b"x-%d" % i, b"y" * 8000) for i in range(5)))
    async with serving(Limits(partial_bytes_max=200_000)) as front, raw(front) as client:
        for stream_id in range(1, 13, 2):
            client.send(
                frame(HEADERS, 0, stream_id, large[:16_000]),
                frame(CONTINUATION, 0, stream_id, large[16_000:32_000]),
                frame(CONTINUATION, END_HEADERS, stream_id, large[32_000:]),
            )
        _, flags, stream_id, _ = await client.receive_until(HEADERS)
        assert stream_id == 9
        assert flags & END_STREAM
        await check_still_serving(front)


async def test_streams_of_all_connections_are_bounded_but_everybody_has_some() -> None:
    async with serving(Limits(streams_max=200)) as front, raw(front) as greedy:
        for stream_id in range(1, 500, 2):
            greedy.send(
                frame(HEADERS, END_HEADERS, stream_id, KEEP),
                frame(DATA, END_STREAM, stream_id, message(b"x")),
            )
        assert (await greedy.receive_until(RST_STREAM))[2] == 401
        await until(lambda: len(front.streams) == 200)
        await check_still_serving(front)


async def test_answers_waiting_in_all_connections_are_bounded_but_everybody_has_some() -> None:
    limits = Limits(queued_total_bytes_max=200_000)
    async with serving(limits) as front, raw(front, NO_WINDOW) as slow:
        for stream_id in range(1, 101, 2):
            slow.send(
                frame(HEADERS, END_HEADERS, stream_id, ECHO),
                frame(DATA, END_STREAM, stream_id, message(b"x" * 8000)),
            )
        ended = 0
        while ended < 26:  # 24 answers of 8,005 bytes fit; the others end with trailers alone
            _, flags, _, _ = await slow.receive_until(HEADERS)
            ended += flags & END_STREAM
        await check_still_serving(front)


async def test_a_silent_client_is_pinged_and_dropped_unless_it_answers() -> None:
    limits = Limits(ping_client_after_s=0.2, ping_answer_s=0.3)
    async with serving(limits) as front, raw(front) as alive, raw(front) as dead:
        for _ in range(4):
            *_, payload = await alive.receive_until(PING)
            alive.send(frame(PING, ACK, 0, payload))
        await dead.closed()
        assert front.server.connection_count == 1


async def test_idle_connections_make_room_where_there_is_none() -> None:
    limits = Limits(connections_max=4, idle_when_full_s=0.3)
    async with serving(limits) as front, raw(front) as idle, raw(front), raw(front) as busy:
        busy.send(
            frame(HEADERS, END_HEADERS, 1, KEEP),
            frame(DATA, END_STREAM, 1, message(b"x")),
        )
        await until(lambda: len(front.streams) == 1)
        async with raw(front):
            await idle.receive_until(GOAWAY)
            await idle.closed()
            await until(lambda: front.server.connection_count < 4)
            assert not front.streams[0].closed
            await check_still_serving(front)


async def test_a_flood_of_pings_is_answered_with_the_end_of_the_connection() -> None:
    async with serving() as front, raw(front) as client:
        client.send(*(frame(PING, 0, 0, b"12345678") for _ in range(20_000)))
        await client.closed()
        await check_still_serving(front)


async def test_a_flood_of_settings_is_answered_with_the_end_of_the_connection() -> None:
    async with serving() as front, raw(front) as client:
        client.send(*(frame(SETTINGS, 0, 0) for _ in range(20_000)))
        await client.closed()
        await check_still_serving(front)


class InPieces:
    """Serves `/test.Test/Large`: 3 MB in pieces, as fast as the client reads."""

    SIZE = 3_000_000

    def __init__(self) -> None:
        self.methods = MethodTable()
        self.methods.unary(b"/test.Test/Large", self.large)
        self.methods.unary(b"/test.Test/Broken", self.broken)
        self.held_max = 0

    def large(self, stream: Stream, _request: bytes) -> None:
        left = self.SIZE

        def more() -> None:
            nonlocal left
            while left and not stream.drain_pending:
                piece = bytes(min(left, 50_000))
                left -= len(piece)
                stream.send(b"", piece)
                self.held_max = max(self.held_max, stream.pending_bytes)
            if not left:
                stream.finish()

        stream.begin_large(self.SIZE)
        stream.on_drained = more
        more()

    def broken(self, stream: Stream, _request: bytes) -> None:
        stream.begin_large(100)
        stream.send(b"only this")
        stream.reset()


async def test_a_large_answer_in_pieces_is_one_message() -> None:
    served = InPieces()
    server = Server(served.methods, lambda: Http1Protocol(HttpRoutes()))
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server.protocol_factory, "127.0.0.1", 0)
    target = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with grpc.aio.insecure_channel(target) as channel:
        answer = await channel.unary_unary("/test.Test/Large")(b"")
        assert answer == bytes(served.SIZE)
        assert served.held_max < 200_000
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/test.Test/Broken")(b"")
        assert raised.value.code() is grpc.StatusCode.INTERNAL
    listener.close()
    await listener.wait_closed()
    server.close()


async def test_a_unix_sockets_authority_may_be_its_path(tmp_path: Path) -> None:
    """etcdctl sends the path, which no HTTP allows."""
    methods = MethodTable()
    methods.unary(b"/test.Test/Echo", lambda stream, body: stream.reply(body))
    server = Server(methods, lambda: Http1Protocol(HttpRoutes()))
    path = str(tmp_path / "s")
    listener = await asyncio.get_running_loop().create_unix_server(server.protocol_factory, path)
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/test.Test/Echo"),
        (b":authority", path.encode()),
        (b"content-type", b"application/grpc"),
    ]
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(
        PREFACE
        + frame(SETTINGS, 0, 0)
        + frame(HEADERS, END_HEADERS, 1, b"".join(literal(*one) for one in fields))
        + frame(DATA, END_STREAM, 1, message(b"over a file"))
    )
    async with asyncio.timeout(5):
        await reader.readuntil(b"over a file")
    writer.close()
    await writer.wait_closed()
    listener.close()
    await listener.wait_closed()
    server.close()
