"""A connection of the HTTP/2 front end, with handlers that do what the input says.

The first byte says how the rest is read: as the bytes of a client, or as a program whose steps are
frames with right lengths, events of the transport, and what handlers do with streams they kept.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable

from raftkv._native.http2 import Limits, MethodTable, Server, Stream, live_counts
from raftkv._native.padded_message import PaddedMessage
from tests.fuzz.pieces import Pieces, cut, string
from tests.fuzz.still_loop import Pipe, StillLoop, still_loop, turns
from tests.raftkv.native.http2_frames import PREFACE, frame, literal, message

LIMITS = Limits(
    request_bytes_max=40000,
    concurrent_streams_max=200,
    header_list_bytes_max=2048,
    partial_bytes_max=65536,
    queued_bytes_max=65536,
    queued_total_bytes_max=65536,
    partial_total_bytes_max=98304,
    streams_max=150,
    drain_low_water_bytes=1024,
    stream_window_bytes=65536,
    connection_window_bytes=131072,
    frames_owed_max=200,
    resets_burst=50,
    resets_per_s=10,
)
PATHS = (
    b"/f.F/Unary",
    b"/f.F/Chat",
    b"/f.F/Kept",
    b"/none",
    b"/plain",
    b"",
    b"/open",
    b"f",
    b"/f.F/Large",
)
FIELDS = (
    (b"content-type", b"application/grpc"),
    (b"content-type", b"text/plain"),
    (b"grpc-timeout", b"5S"),
    (b"grpc-encoding", b"gzip"),
    (b"grpc-timeout", b"99999999n"),
    (b"x", b"y" * 1000),
    (b":method", b"GET"),
    (b"content-length", b"5"),
)
PIECE_BYTES = (0, 1, 9, 64)
LARGE = 0x40
"""A flag that means nothing in a DATA frame: its message is made large."""
LARGE_BYTES = 33000
DATA_BYTES = 16000
KEPT_MAX = 16
STEPS_MAX = 400
RAW_FRAMES, HEADERS, MESSAGE, PAUSE, RESUME, TURN, ACT, GOAWAY, WINDOW, CLOSE, TIME, BYTES = range(
    12
)


class Handler:
    """A streaming call; messages tell it what to do."""

    def __init__(self, talk: Talk, stream: Stream) -> None:
        self.talk, self.stream = talk, stream
        stream.on_drained = self.drained

    def on_message(self, message: bytes) -> None:
        act(self.stream, Pieces(message))

    def on_half_close(self) -> None:
        self.stream.send(b"half")
        self.stream.finish()

    def on_closed(self) -> None:
        assert self.stream.closed
        self.stream.send(b"too late")

    def drained(self) -> None:
        self.stream.send(b"more", b"tail" * 10)


def act(stream: Stream, pieces: Pieces) -> None:
    """Do with a stream what the next bytes say."""
    match pieces.byte() % 10:
        case 0:
            stream.send(pieces.string())
        case 1:
            stream.send(b"h" * pieces.byte(), b"t" * pieces.short())
        case 2:
            stream.finish(pieces.byte() % 17, "because \u00e4" * (pieces.byte() % 40))
        case 3:
            stream.reset()
        case 4:
            if stream.begin_large(pieces.short()):
                stream.send(b"part")
        case 5:
            stream.begin_http(200 + pieces.byte(), b"text/plain", [(b"a", pieces.string())])
        case 6:
            stream.reply_http(200, b"text/plain", b"b" * pieces.short())
        case 7:
            stream.reply(b"r" * pieces.short())
        case 8:
            facts = (stream.path, stream.http_method, stream.metadata, stream.deadline_s)
            assert repr(facts)
            assert repr(stream)
        case _:
            for _ in range(pieces.byte() % 32):
                stream.send(b"many", b"x" * 900)


class LargeHandler:
    """Takes large messages, and wants some room in front of most."""

    def headroom(self, size: int) -> int:
        return size % 4 * 25

    def on_large(self, stream: Stream, message: PaddedMessage) -> None:
        act(stream, Pieces(message.message()))


class Talk:
    """One connection from its beginning to its end."""

    def __init__(self, loop: StillLoop) -> None:
        self.loop = loop
        self.kept: list[Stream] = []
        methods = MethodTable()
        methods.unary(b"/f.F/Unary", lambda stream, message: act(stream, Pieces(message)))
        methods.unary(b"/f.F/Kept", lambda stream, _message: self.keep(stream))
        methods.unary(
            b"/f.F/Large",
            lambda stream, message: act(stream, Pieces(message)),
            LargeHandler(),
        )
        methods.streaming(b"/f.F/Chat", self.open)
        self.server = Server(methods, asyncio.Protocol, LIMITS, self.plain, self.open_plain)
        self.transport = Pipe()
        self.protocol = self.server.protocol_factory()
        self.protocol.connection_made(self.transport)

    def keep(self, stream: Stream) -> None:
        stream.on_closed = lambda: stream.send(b"closed")
        if len(self.kept) < KEPT_MAX:
            self.kept.append(stream)

    def open(self, stream: Stream) -> Handler:
        self.keep(stream)
        return Handler(self, stream)

    def open_plain(self, stream: Stream) -> Handler | None:
        return self.open(stream) if stream.path == b"/open" else None

    def plain(self, stream: Stream, body: bytes) -> None:
        act(stream, Pieces(body))

    def receive(self, data: bytes, piece_bytes: int) -> None:
        for piece in cut(data, piece_bytes):
            if self.transport.closing:
                return
            buffer = self.protocol.get_buffer(-1)
            buffer[: len(piece)] = piece  # type: ignore[index]
            self.protocol.buffer_updated(len(piece))

    async def end(self) -> None:
        await turns()
        self.protocol.connection_lost(None)
        await turns(2)
        self.server.close()
        for stream in self.kept:
            assert stream.closed
            assert not stream.send(b"x")
        # The methods know the talk; without this nothing would go before the next collection.
        self.kept.clear()
        del self.protocol, self.server


async def talk(data: bytes, loop: StillLoop) -> None:
    pieces = Pieces(data)
    mode = pieces.byte()
    piece_bytes = PIECE_BYTES[mode >> 1 & 3]
    one = Talk(loop)
    if mode & 1:
        one.receive(PREFACE + frame(4, 0, 0), 0)
        steps = 0
        while not pieces.is_empty and steps < STEPS_MAX:
            steps += 1
            await step(one, pieces, piece_bytes)
    else:
        one.receive(pieces.rest(), piece_bytes)
    await one.end()


async def step(one: Talk, pieces: Pieces, piece_bytes: int) -> None:
    """Take one step of a program."""
    match pieces.byte() % 12:
        case 0:  # RAW_FRAMES
            kind, flags, stream_id = pieces.byte(), pieces.byte(), pieces.byte()
            one.receive(frame(kind, flags, stream_id, pieces.string()), piece_bytes)
        case 1:  # HEADERS
            flags, stream_id = pieces.byte(), pieces.byte()
            one.receive(frame(1, flags | 4, stream_id, block(pieces)), piece_bytes)
        case 2:  # MESSAGE
            flags, stream_id = pieces.byte(), pieces.byte()
            content = pieces.string()
            if flags & LARGE:
                content = content.ljust(LARGE_BYTES + len(content) % 8, b"\x08")
            send_message(one, flags, stream_id, message(content), piece_bytes)
        case 3:
            one.protocol.pause_writing()
        case 4:
            one.protocol.resume_writing()
        case 5:
            await turns(2)
        case 6:  # ACT
            place = pieces.byte()
            if one.kept:
                act(one.kept[place % len(one.kept)], pieces)
        case 7:
            one.server.goaway()
        case 8:  # WINDOW
            stream_id, amount = pieces.byte(), pieces.short()
            one.receive(frame(8, 0, stream_id, struct.pack(">I", amount)), piece_bytes)
        case 9:
            one.server.close()
        case 10:
            one.loop.now += pieces.byte() * 60
            await turns(2)
        case _:
            one.receive(pieces.string(), piece_bytes)


def send_message(one: Talk, flags: int, stream_id: int, content: bytes, piece_bytes: int) -> None:
    """Send a message in frames that are allowed; the flags are those of the last one."""
    parts = list(cut(content, DATA_BYTES))
    for part in parts[:-1]:
        one.receive(frame(0, 0, stream_id, part), piece_bytes)
    one.receive(frame(0, flags, stream_id, parts[-1]), piece_bytes)


def block(pieces: Pieces) -> bytes:
    """A header block: a path and some of the fields."""
    path, chosen = pieces.byte(), pieces.byte()
    parts = [literal(b":method", b"POST"), literal(b":path", PATHS[path % len(PATHS)])]
    parts += [literal(*field) for place, field in enumerate(FIELDS) if chosen >> place & 1]
    return b"".join(parts)


def run(data: bytes) -> None:
    """Play one connection; nothing of it may be left."""
    logger = logging.getLogger("raftkv.http2")
    logger.disabled = True
    loop = still_loop()
    try:
        loop.run_until_complete(talk(data, loop))
    finally:
        logger.disabled = False
    assert live_counts() == (0, 0), live_counts()


def seeds() -> list[bytes]:
    """Return ordinary conversations."""
    raw = PREFACE + frame(4, 0, 0)
    fields = literal(b":method", b"POST") + literal(b":path", PATHS[0]) + literal(*FIELDS[0])
    raw += frame(1, 4, 1, fields) + frame(0, 1, 1, message(b"\x07\x05\0"))
    raw += frame(6, 0, 0, bytes(8)) + frame(3, 0, 1, struct.pack(">I", 8))
    make: Callable[..., bytes] = lambda *numbers: bytes(numbers)  # noqa: E731
    programs = [
        make(1, HEADERS, 0, 1, path, fields_chosen)
        + make(MESSAGE, 1, 1)
        + string(make(action, 3, 1, 2, 3))
        + make(TURN, ACT, 0, action, 9, 9)
        + make(WINDOW, 0, 255, 255, PAUSE, TURN, RESUME, TURN)
        for path in range(len(PATHS))
        for fields_chosen in (1, 2, 5)
        for action in (0, 1, 2, 3, 5, 6, 7, 9)
    ]
    large = [
        make(1, HEADERS, 0, 1, PATHS.index(b"/f.F/Large"), 1, MESSAGE, LARGE | 1, 1)
        + string(bytes([7, action, *bytes(spare)]))
        for action in (0, 9)
        for spare in range(4)
    ]
    ends = [make(1, HEADERS, 0, 1, 1, 1, last, 3, TURN) for last in (GOAWAY, CLOSE, TIME)]
    return [b"\0" + raw, b"\2" + raw, b"\4" + raw, *programs, *large, *ends]
