"""A front end with echoing methods on a free port, and the check that it forgets everything."""

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from raftkv._native.http2 import Limits, MethodTable, Server, Stream, live_counts
from raftkv.rpc.http1 import Http1Protocol, HttpRoutes


@dataclass
class Echo:
    """Answers each message with itself; on `b"end <code> <text>"` it ends with that status."""

    stream: Stream
    events: list[str]

    def on_message(self, message: bytes) -> None:
        if message.startswith(b"end "):
            _, code, text = message.decode().split(" ", 2)
            self.stream.finish(int(code), text)
        elif message.startswith(b"flood "):
            for _ in range(int(message[6:])):
                self.stream.send(b"head", b"tail" * 4096)
        else:
            self.stream.send(message)

    def on_half_close(self) -> None:
        self.events.append("half_close")
        self.stream.finish()

    def on_closed(self) -> None:
        self.events.append("closed")


@dataclass
class Serving:
    """A running front end, with what its handlers saw."""

    server: Server
    port: int
    events: list[str] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


def method_table(serving: Callable[[], Serving]) -> MethodTable:
    def keep(stream: Stream, message: bytes) -> None:
        serving().streams.append(stream)
        stream.on_closed = lambda: serving().events.append("closed")

    def fail(stream: Stream, message: bytes) -> None:
        code, text = message.decode().split(" ", 1)
        stream.fail(int(code), text)

    def later(stream: Stream, message: bytes) -> None:
        asyncio.get_running_loop().call_later(0.01, stream.reply, message)

    def facts(stream: Stream, message: bytes) -> None:
        facts = [stream.path, stream.metadata, stream.deadline_s, stream.peer]
        stream.reply(repr(facts).encode())

    def broken(stream: Stream, message: bytes) -> None:
        del stream  # the logged traceback keeps this frame
        raise RuntimeError("a handler's mistake")

    def open_echo(stream: Stream) -> Echo:
        serving().streams.append(stream)
        return Echo(stream, serving().events)

    methods = MethodTable()
    methods.unary(b"/test.Test/Echo", lambda stream, message: stream.reply(message))
    methods.unary(b"/test.Test/Keep", keep)
    methods.unary(b"/test.Test/Fail", fail)
    methods.unary(b"/test.Test/Later", later)
    methods.unary(b"/test.Test/Facts", facts)
    methods.unary(b"/test.Test/Broken", broken)
    methods.streaming(b"/test.Test/Chat", open_echo)
    return methods


@contextlib.asynccontextmanager
async def serving(
    limits: Limits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Serving]:
    """Run a front end; at the end nothing of its connections and streams may be left."""
    routes = HttpRoutes()

    async def version(*_: object) -> tuple[int, str, bytes]:
        return 200, "application/json", b'{"version":"1"}'

    async def mirror(method: str, path: str, *rest: object) -> tuple[int, str, bytes]:
        body = rest[-1]
        assert isinstance(body, bytes)
        return 200, "text/plain", f"{method} {path} {rest[0]} ".encode() + body

    routes.add("/version", version)
    routes.add("/mirror/", mirror, methods=("GET", "POST"))
    running: list[Serving] = []
    server = Server(
        method_table(lambda: running[0]),
        lambda: Http1Protocol(routes),
        limits,
        routes.serve_stream,
    )
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server.protocol_factory, "127.0.0.1", 0, ssl=tls)
    running.append(Serving(server, listener.sockets[0].getsockname()[1]))
    try:
        yield running[0]
    finally:
        listener.close()
        await listener.wait_closed()
        server.close()
        running[0].streams.clear()
        await until(lambda: (gc.collect(), live_counts())[1] == (0, 0))


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Poll until `condition` holds; AssertionError after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "condition did not come true"
        await asyncio.sleep(0.005)
