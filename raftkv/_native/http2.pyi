"""A gRPC server for asyncio on libnghttp2. See `http2.pyx` for the rules of its inside."""

import asyncio
from collections.abc import Callable

from raftkv._native.http2_handler import StreamHandler as StreamHandler
from raftkv._native.http2_limits import Limits as Limits
from raftkv._native.http2_methods import MethodTable as MethodTable
from raftkv._native.http2_stream import Stream as Stream

class Server:
    """Accepts connections, routes their requests, gathers and writes the answers."""

    methods: MethodTable
    limits: Limits
    on_read_begin: Callable[[], object] | None
    on_read_end: Callable[[], object] | None
    """Called before and after the requests of each read are handed over, in this order always."""

    def __init__(
        self,
        methods: MethodTable,
        http1_factory: Callable[[], asyncio.Protocol],
        limits: Limits | None = None,
        http_handler: Callable[[Stream, bytes], object] | None = None,
        http_open: Callable[[Stream], StreamHandler | None] | None = None,
    ) -> None:
        """`http1_factory` makes the protocol of connections that speak HTTP/1; `http_handler` is
        called with complete HTTP/2 requests that are not gRPC (without one: 415). `http_open` is
        asked first, when the headers are there: a handler from it is given the body in pieces."""
    @property
    def connection_count(self) -> int: ...
    @property
    def received_bytes(self) -> int:
        """Bytes that HTTP/2 clients have sent, frames and headers included."""
    @property
    def sent_bytes(self) -> int:
        """Bytes written to HTTP/2 clients, frames and headers included."""
    def protocol_factory(self) -> asyncio.BufferedProtocol:
        """Give this to `loop.create_server`, with or without `ssl`."""
    def flush(self) -> int:
        """Write all answers now; the caller's turn ends. Otherwise they leave next turn."""
    def goaway(self) -> None:
        """Take no new streams; each connection closes when its last stream has ended."""
    def close(self, text: str = "etcdserver: server stopped") -> None:
        """End every stream with Unavailable and `text`, close all, refuse new connections."""

def live_counts() -> tuple[int, int]:
    """Return (connections, streams) in memory."""
