"""HTTP/1.1 on the client port: `/health`, `/metrics`, `/version` and what joins them.

Small on purpose: a table of routes, requests with a Content-Length, keep-alive, one request at a
time per connection. gRPC never comes here; neither does a proxy's traffic. RFC 9112.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

from raftkv._native.http2 import Stream

log = logging.getLogger(__name__)

Query = Mapping[str, list[str]]
Headers = Mapping[str, str]
Answer = tuple[int, str, bytes]
"""Status, content type, body."""
Handler = Callable[[str, str, Query, Headers, bytes], Awaitable[Answer]]
"""`(method, path, query, headers, body)`; header names are lower-case."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one HTTP/1 connection may take."""

    header_bytes_max: int = 16 << 10
    """Request line and headers; more is 431."""
    body_bytes_max: int = 2 << 20
    """Body; more is 413."""
    idle_timeout_s: float = 60.0
    """A connection without a complete request for this long is closed."""


class BadRequest(Exception):
    """The bytes are no request that we take. `status` says why."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A parsed request line with its headers."""

    method: str
    target: str
    version: str
    headers: dict[str, str]

    @property
    def keep_alive(self) -> bool:
        connection = self.headers.get("connection", "").lower()
        if self.version == "HTTP/1.0":
            return connection == "keep-alive"
        return connection != "close"

    @property
    def content_length(self) -> int:
        if "transfer-encoding" in self.headers:
            raise BadRequest(HTTPStatus.NOT_IMPLEMENTED, "transfer-encoding is not supported")
        text = self.headers.get("content-length", "0")
        if not (text.isascii() and text.isdigit()):
            raise BadRequest(HTTPStatus.BAD_REQUEST, "malformed content-length")
        return int(text)


def parse_head(block: bytes) -> RequestHead:
    """Parse everything before the empty line. Raises BadRequest."""
    lines = block.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[0].isalpha() or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "malformed request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(HTTPStatus.BAD_REQUEST, "malformed header")
        key, value = name.lower(), value.strip()
        if key == "content-length" and headers.get(key, value) != value:
            raise BadRequest(HTTPStatus.BAD_REQUEST, "two content-lengths")
        headers[key] = (
            f"{headers[key]}, {value}" if key in headers and key != "content-length" else value
        )
    return RequestHead(parts[0], parts[1], parts[2], headers)


class HttpRoutes:
    """Which handler answers which path; the same table for HTTP/1 and plain HTTP/2 requests."""

    def __init__(self) -> None:
        self._exact: dict[str, tuple[frozenset[str], Handler]] = {}
        self._prefixes: list[tuple[str, frozenset[str], Handler]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[Http1Protocol] = set()

    def add(self, path: str, handler: Handler, methods: tuple[str, ...] = ("GET",)) -> None:
        """Route `path`, or all paths below it where it ends in a slash. GET implies HEAD."""
        allowed = frozenset(methods) | ({"HEAD"} if "GET" in methods else frozenset())
        if path.endswith("/"):
            self._prefixes.append((path, allowed, handler))
        else:
            self._exact[path] = (allowed, handler)

    def opened(self, connection: Http1Protocol) -> None:
        """Remember a connection, for `close`."""
        self._connections.add(connection)

    def closed(self, connection: Http1Protocol) -> None:
        self._connections.discard(connection)

    def close(self) -> None:
        """Close every HTTP/1 connection that was opened on this table, what it answers included."""
        for connection in list(self._connections):
            connection.close()

    async def answer(self, method: str, target: str, headers: Headers, body: bytes) -> Answer:
        """Run the handler of a request; its failure becomes a 500 and a log line."""
        try:
            url = urlsplit(target)
            path = unquote(url.path)
            query = parse_qs(url.query, keep_blank_values=True)
        except ValueError:
            return _text(HTTPStatus.BAD_REQUEST, "malformed target")
        found = self._exact.get(path)
        if found is None:
            found = next(
                ((m, h) for prefix, m, h in self._prefixes if path.startswith(prefix)), None
            )
        if found is None:
            return _text(HTTPStatus.NOT_FOUND, "404 page not found")
        allowed, handler = found
        if method not in allowed:
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed")
        try:
            return await handler(method, path, query, headers, body)
        except Exception:
            log.exception("http handler failed", extra={"path": path})
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")

    def serve_stream(self, stream: Stream, body: bytes) -> None:
        """Answer a plain HTTP/2 request; give this to `Server` as its `http_handler`."""
        task = asyncio.get_running_loop().create_task(self._answer_stream(stream, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        stream.on_closed = task.cancel

    async def _answer_stream(self, stream: Stream, body: bytes) -> None:
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in stream.metadata}
        method = stream.http_method.decode("latin-1")
        target = stream.path.decode("latin-1")
        status, content_type, answer = await self.answer(method, target, headers, body)
        stream.reply_http(status, content_type.encode(), b"" if method == "HEAD" else answer)


def _text(status: HTTPStatus, text: str) -> Answer:
    return int(status), "text/plain; charset=utf-8", f"{text}\n".encode()


class Http1Protocol(asyncio.Protocol):
    """One HTTP/1.1 connection. While a request is answered, nothing more is read."""

    def __init__(self, routes: HttpRoutes, limits: HttpLimits | None = None) -> None:
        self._routes = routes
        self._limits = limits or HttpLimits()
        self._buffer = bytearray()
        self._head: RequestHead | None = None
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._routes.opened(self)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._routes.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Close the connection once what was answered has been written."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def _await_request(self) -> None:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limits.idle_timeout_s, self._transport.close)

    def _advance(self) -> None:
        """Begin to answer once a whole request is there."""
        if self._transport is None or self._task is not None:
            return
        try:
            complete = self._parse()
        except BadRequest as error:
            self._write(_text(error.status, error.text), head=None)
            self._transport.close()
            return
        if complete is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._respond(*complete))

    def _parse(self) -> tuple[RequestHead, bytes] | None:
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if max(end, 0 if end >= 0 else len(self._buffer)) > self._limits.header_bytes_max:
                raise BadRequest(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "request headers too large"
                )
            if end < 0:
                return None
            self._head = parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            if self._head.content_length > self._limits.body_bytes_max:
                raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request body too large")
            if self._head.headers.get("expect", "").lower() == "100-continue":
                assert self._transport is not None
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = self._head.content_length
        if len(self._buffer) < length:
            return None
        head, body = self._head, bytes(self._buffer[:length])
        del self._buffer[:length]
        self._head = None
        return head, body

    async def _respond(self, head: RequestHead, body: bytes) -> None:
        answer = await self._routes.answer(head.method, head.target, head.headers, body)
        self._task = None
        if self._transport is None:
            return
        self._write(answer, head)
        if not head.keep_alive:
            self._transport.close()
            return
        self._transport.resume_reading()
        self._await_request()
        self._advance()

    def _write(self, answer: Answer, head: RequestHead | None) -> None:
        status, content_type, body = answer
        keep = head is not None and head.keep_alive
        lines = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"content-type: {content_type}\r\n"
            f"content-length: {len(body)}\r\n"
            f"date: {formatdate(usegmt=True)}\r\n"
            f"connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        assert self._transport is not None
        self._transport.write(lines.encode("latin-1"))
        if head is None or head.method != "HEAD":
            self._transport.write(body)
