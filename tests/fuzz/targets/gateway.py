"""An HTTP/1 connection to the JSON gateway, WebSockets too, whose services answer what they hear.

The first byte says whether the rest is the client's bytes, or a program: requests by path, method
and body, frames of a WebSocket with their masks, pauses. No handler may fail, each message that
reaches a service is one of its type, and a client that reads nothing is owed little.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from google.protobuf.message import DecodeError

from raftkv._native.http2 import MethodTable, Stream
from raftkv.rpc.gateway import Gateway
from raftkv.rpc.gateway_paths import GatewayMethod, gateway_methods
from raftkv.rpc.http1 import Http1Protocol, HttpLimits, HttpRoutes
from tests.fuzz.pieces import Pieces, cut, string
from tests.fuzz.still_loop import Pipe, StillLoop, still_loop, turns

LIMITS = HttpLimits(header_bytes_max=2048, body_waiting_bytes=4096, write_buffer_bytes=1024)
MESSAGE_BYTES_MAX = 4096
WRITTEN_TO_THE_DEAF_MAX = 16 << 10
PIECE_BYTES = (0, 1, 9, 64)
STEPS_MAX = 100
PATHS = (*sorted(gateway_methods()), "/v3beta/kv/put", "/v3/none", "/version", "/")
VERBS = (b"POST", b"GET", b"OPTIONS", b"HEAD")
HEADS = (
    b"",
    b"content-length: %d\r\n",
    b"transfer-encoding: chunked\r\n",
    b"expect: 100-continue\r\ncontent-length: %d\r\n",
    b"grpc-timeout: 1S\r\ncontent-length: %d\r\n",
    b"connection: close\r\nauthorization: x\r\ngrpc-metadata-a: b\r\ncontent-length: %d\r\n",
    b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: x\r\n",
)
REQUEST, WEB_SOCKET_FRAME, BYTES, TURN, TIME, DEAF, HEARING, END_OF_FILE = range(8)


class Failures(logging.Handler):
    """Remembers what was logged as an error: a handler that failed is a bug."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


class Echo:
    """A streaming call that answers each message with one of its own kind."""

    def __init__(self, stream: Stream, called: GatewayMethod) -> None:
        self.stream, self.called = stream, called

    def on_message(self, message: bytes) -> None:
        self.stream.send(answer(self.called, message))
        if len(message) > 60:
            self.stream.finish(len(message) % 17, "long")

    def on_half_close(self) -> None:
        if not self.called.takes_stream:
            self.stream.finish()

    def on_closed(self) -> None: ...


def answer(called: GatewayMethod, message: bytes) -> bytes:
    """Answer with the request's own bytes where they can be a response."""
    called.request_type.FromString(message)
    try:
        return called.response_type.FromString(message).SerializeToString()
    except DecodeError:
        return b""


def unary(called: GatewayMethod) -> Callable[[Stream, bytes], object]:
    def handle(stream: Stream, message: bytes) -> None:
        reply = answer(called, message)
        if len(message) % 7 == 6:
            stream.fail(len(message) % 17, "no \u00e4")
        elif len(message) % 7 == 5 and stream.begin_large(len(reply)):
            stream.send(reply[:3])
            stream.send(reply[3:])
            stream.finish()
        else:
            stream.reply(reply)

    return handle


def streaming(called: GatewayMethod) -> Callable[[Stream], Echo]:
    return lambda stream: Echo(stream, called)


def make_routes() -> HttpRoutes:
    """Routes of a gateway in front of every service."""
    methods = MethodTable()
    for path, called in gateway_methods().items():
        if methods.find(called.grpc_path) is not None:
            continue
        if called.takes_stream or called.returns_stream:
            methods.streaming(called.grpc_path, streaming(called))
        else:
            methods.unary(called.grpc_path, unary(called))
        assert path
    routes = HttpRoutes()
    Gateway(methods, MESSAGE_BYTES_MAX).register(routes)

    async def version(*_: object) -> tuple[int, str, bytes]:
        return 200, "text/plain", b"v" * 1000

    routes.add("/version", version)
    return routes


ROUTES = make_routes()


class Talk:
    """One connection."""

    def __init__(self, loop: StillLoop) -> None:
        self.loop = loop
        self.transport = Pipe()
        self.protocol = Http1Protocol(ROUTES, LIMITS)
        self.protocol.connection_made(self.transport)

    def receive(self, data: bytes, piece_bytes: int) -> None:
        for piece in cut(data, piece_bytes):
            if self.transport.closing:
                return
            self.protocol.data_received(piece)

    def request(self, pieces: Pieces) -> bytes:
        """Make a request of a verb, a path, a head and a body."""
        verb, path = VERBS[pieces.byte() % len(VERBS)], PATHS[pieces.byte() % len(PATHS)]
        choice = pieces.byte() % len(HEADS)
        head, body = HEADS[choice], pieces.string()
        if b"%d" in head:
            head %= len(body)
        if choice == 2:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        return b"%b %b HTTP/1.1\r\nhost: x\r\n%b\r\n%b" % (verb, path.encode(), head, body)

    async def step(self, pieces: Pieces, piece_bytes: int) -> None:
        match pieces.byte() % 8:
            case 0:  # REQUEST
                self.receive(self.request(pieces), piece_bytes)
            case 1:  # WEB_SOCKET_FRAME
                first, body = pieces.byte(), pieces.string()
                self.receive(web_socket_frame(first, body), piece_bytes)
            case 2:
                self.receive(pieces.string(), piece_bytes)
            case 3:
                await turns()
            case 4:
                self.loop.now += pieces.byte()
                await turns()
            case 5:
                self.transport.stop_taking(self.protocol)
            case 6:
                self.transport.take_again(self.protocol)
            case _:
                self.protocol.eof_received()

    async def end(self) -> None:
        await turns()
        self.protocol.connection_lost(None)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for _ in range(20):
            if not tasks:
                break
            await turns()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not tasks, tasks
        assert ROUTES.budget.held_bytes == 0, ROUTES.budget.held_bytes
        assert self.transport.written_while_deaf <= WRITTEN_TO_THE_DEAF_MAX


def web_socket_frame(first: int, body: bytes) -> bytes:
    """A masked frame; the mask is zeros, so that bodies stay what they are."""
    if len(body) < 126:
        return bytes((first, 0x80 | len(body))) + bytes(4) + body
    return bytes((first, 0x80 | 126)) + len(body).to_bytes(2, "big") + bytes(4) + body


async def talk(data: bytes, loop: StillLoop) -> None:
    pieces = Pieces(data)
    mode = pieces.byte()
    one = Talk(loop)
    piece_bytes = PIECE_BYTES[mode >> 1 & 3]
    if mode & 1:
        for _ in range(STEPS_MAX):
            if pieces.is_empty:
                break
            await one.step(pieces, piece_bytes)
    else:
        one.receive(pieces.rest(), piece_bytes)
    await one.end()


def run(data: bytes) -> None:
    """Play one connection."""
    failures = Failures()
    logger = logging.getLogger("raftkv")
    logger.addHandler(failures)
    logger.propagate = False
    try:
        loop = still_loop()
        loop.run_until_complete(talk(data, loop))
    finally:
        logger.propagate = True
        logger.removeHandler(failures)
    assert not failures.records, failures.records[0]


def seeds() -> list[bytes]:
    """Return a request to each path, and conversations over WebSockets."""
    bodies = (
        b'{"key":"YQ==","value":"Yg==","lease":"7","prev_kv":true}',
        b'{"compare":[{"target":"VALUE","result":0,"key":"YQ==","value":"Yg=="}],"success":'
        b'[{"requestPut":{"key":"YQ=="}}],"failure":[{"request_range":{"key":"YQ","limit":1e2}}]}',
        b'{"create_request":{"key":"YQ==","filters":["NOPUT",1],"start_revision":-1}} {}',
        b'{"TTL":60,"ID":"9223372036854775807","name":"\\u00e4\\ud83d\\ude00"}',
    )
    programs = [
        b"\1" + bytes((REQUEST, 0, path, 1 + path % 5)) + string(body) + bytes((TURN,))
        for path in range(len(PATHS))
        for body in bodies
    ]
    watch = PATHS.index("/v3/watch")
    socket = b"\1" + bytes((REQUEST, 1, watch, 6, 0, TURN))
    frames = [
        bytes((WEB_SOCKET_FRAME, 0x81)) + string(bodies[2]),
        bytes((WEB_SOCKET_FRAME, 0x01)) + string(bodies[2][:20]),
        bytes((WEB_SOCKET_FRAME, 0x80)) + string(bodies[2][20:]),
        bytes((WEB_SOCKET_FRAME, 0x89)) + string(b"ping"),
        bytes((WEB_SOCKET_FRAME, 0x88)) + string(b"\3\xe8bye"),
    ]
    programs += [socket + b"".join(frames), socket + frames[0] * 3 + bytes((TURN, END_OF_FILE))]
    programs.append(b"\1" + bytes((DEAF, REQUEST, 1, len(PATHS) - 2, 0, 0)) * 3)
    raw = b"POST /v3/kv/put HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
    chunked = (
        b"POST /v3/watch HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{}{} \r\n0\r\n\r\n"
    )
    whole = [raw % (len(body), body) for body in bodies]
    return [*programs, *(b"\0" + one for one in whole), b"\2" + chunked, b"\6" + b"".join(whole)]
