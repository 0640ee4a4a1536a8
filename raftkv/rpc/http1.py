"""HTTP/1.1 on the client port: `/health`, `/metrics`, `/version`, the JSON gateway.

Small on purpose: one request at a time per connection, keep-alive, chunks both ways. gRPC never
comes here; neither does a proxy's traffic. RFC 9112.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from raftkv.rpc.http_body import BodyDecoder, RawBody
from raftkv.rpc.http_exchange import BadRequest, Exchange, Fields
from raftkv.rpc.http_routes import HttpRoutes, start

__all__ = ["Http1Exchange", "Http1Protocol", "HttpLimits", "HttpRoutes", "parse_head"]

_numbers = itertools.count(1)

PHRASES = {499: "Client Closed Request"}
"""Of statuses that the standard library does not know."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one HTTP/1 connection may take."""

    header_bytes_max: int = 16 << 10
    """Request line and headers; more is 431."""
    idle_timeout_s: float = 60.0
    """A connection without a complete request for this long is closed; one that is answered at
    length is not."""
    body_waiting_bytes: int = 256 << 10
    """While this much of a body waits to be read, or of the next request to begin, no more is
    taken from the socket."""
    write_buffer_bytes: int = 64 << 10
    """What may wait for the client before whoever writes is told to pause."""
    linger_s: float = 1.0
    """A client that is still sending when it is refused has this long to read why."""


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
    def content_length(self) -> int | None:
        """The body's length, None where it comes in chunks. Raises BadRequest."""
        encoding = self.headers.get("transfer-encoding")
        text = self.headers.get("content-length")
        if encoding is not None:
            if text is not None:
                raise BadRequest(HTTPStatus.BAD_REQUEST, "both a length and chunks")
            if encoding.lower() != "chunked" or self.version == "HTTP/1.0":
                raise BadRequest(HTTPStatus.NOT_IMPLEMENTED, "unsupported transfer-encoding")
            return None
        if text is not None and not (text.isascii() and text.isdigit() and len(text) < 16):
            raise BadRequest(HTTPStatus.BAD_REQUEST, "malformed content-length")
        return int(text or 0)


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


class Http1Exchange(Exchange):
    """One request of an HTTP/1 connection."""

    def __init__(self, connection: Http1Protocol, head: RequestHead, *, is_secure: bool) -> None:
        super().__init__(head.method, head.target, head.headers, is_secure=is_secure)
        self._connection = connection
        self._head = head
        self.peer = connection.peer
        self.connection_id = connection.connection_id
        self._is_chunked = False
        self.keeps_connection = head.keep_alive
        """Whether another request may follow."""

    def begin(
        self, status: int, content_type: str, fields: Fields = (), length: int | None = None
    ) -> None:
        self.began = True
        if self.ended:
            return
        lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
        if status != HTTPStatus.SWITCHING_PROTOCOLS:
            if length is not None:
                lines.append(f"content-length: {length}")
            elif self._head.version == "HTTP/1.0":
                self.keeps_connection = False
            else:
                self._is_chunked = True
                lines.append("transfer-encoding: chunked")
            if not self._connection.body_complete:
                self.keeps_connection = self.keeps_connection and self.is_long
            lines.append(f"content-type: {content_type}")
            lines.append(f"connection: {'keep-alive' if self.keeps_connection else 'close'}")
        lines.append(f"date: {formatdate(usegmt=True)}")
        lines += [f"{name}: {value}" for name, value in (*self.answer_fields, *fields)]
        self._connection.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def write(self, piece: bytes) -> None:
        if self.ended or not piece:
            return
        if self._is_chunked:
            self._connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            self._connection.send(piece)

    def end(self) -> None:
        if self.ended:
            return
        if self._is_chunked:
            self._connection.send(b"0\r\n\r\n")
        self.ended = True

    def abort(self) -> None:
        self.ended = True
        self.keeps_connection = False

    def upgrade(self, fields: Fields) -> None:
        """Switch to another protocol: all that follows is read and written as it is."""
        self.keeps_connection = False
        self._body_complete = False
        self.begin(int(HTTPStatus.SWITCHING_PROTOCOLS), "", fields)
        self._connection.upgrade()

    def close_connection(self) -> None:
        """Close once everything is written; whoever serves the request is cancelled then."""
        self._connection.close()

    def body_read(self) -> None:
        self._connection.body_was_read()

    @property
    def pending_bytes(self) -> int:
        return self._connection.pending_bytes

    @property
    def drain_pending(self) -> bool:
        return self._connection.is_paused


class Http1Protocol(asyncio.Protocol):
    """One HTTP/1.1 connection. The next request waits until the present one is answered."""

    def __init__(self, routes: HttpRoutes, limits: HttpLimits | None = None) -> None:
        self._routes = routes
        self._limits = limits or HttpLimits()
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.peer: tuple[str, int] | str = ""
        self.connection_id = -next(_numbers)
        self._is_secure = False
        self._exchange: Http1Exchange | None = None
        self._body: BodyDecoder | RawBody | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reads = True
        self._lingers = False
        self._at_eof = False
        self.is_paused = False
        """Whether much of what was written waits for the client."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.peer = transport.get_extra_info("peername") or ""
        self._is_secure = transport.get_extra_info("ssl_object") is not None
        if not self._routes.opened(self):
            transport.close()
            return
        transport.set_write_buffer_limits(high=self._limits.write_buffer_bytes)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._routes.closed(self)
        self._stop_timer()
        if self._exchange is not None:
            self._exchange.ended = True
            self._exchange.let_go()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        if self._exchange is not None and self._exchange.on_drained is not None:
            self._exchange.on_drained()
        self._advance()

    def data_received(self, data: bytes) -> None:
        if not self._lingers:
            self._buffer += data
            self._advance()

    def eof_received(self) -> bool:
        """A client that only asks and is answered at once may close its side first."""
        self._at_eof = True
        if self._exchange is not None and not self._exchange.is_long and self.body_complete:
            return not self._is_secure
        return False

    # What an exchange asks of its connection.

    def close(self) -> None:
        """Close the connection once what was answered has been written."""
        if self._transport is not None:
            self._transport.close()

    def send(self, data: bytes) -> None:
        """Write to the socket."""
        if self._transport is not None:
            self._transport.write(data)

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait for the client."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def body_complete(self) -> bool:
        """Whether the present request has arrived whole."""
        return self._body is None or self._body.is_complete

    def upgrade(self) -> None:
        """Give the exchange everything that follows."""
        self._body = RawBody()
        self._advance()

    def body_was_read(self) -> None:
        """Take more of the body where it was held back."""
        self._advance()

    # The rest.

    def _await_request(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._limits.idle_timeout_s, self.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _advance(self) -> None:
        """Begin the next request, or give the present one more of its body."""
        if self._transport is None or self._lingers:
            return
        try:
            # Who asks on and reads nothing must not be owed one answer after the other.
            if self._exchange is None and not self.is_paused:
                self._begin_request()
            if self._exchange is not None:
                self._feed(self._exchange)
        except BadRequest as error:
            if self._exchange is not None:
                self._exchange.push_error(error)
                return
            self._refuse(error)
            return
        self._hold_back()

    def _begin_request(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if max(end, 0 if end >= 0 else len(self._buffer)) > self._limits.header_bytes_max:
            raise BadRequest(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "request headers too large"
            )
        if end < 0:
            return
        head = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        body = BodyDecoder(head.content_length)
        exchange = Http1Exchange(self, head, is_secure=self._is_secure)
        self._body, self._exchange = body, exchange
        if head.headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        work = self._routes.begin(exchange)
        if exchange.is_long:
            self._stop_timer()
        self._task = start(exchange, work)
        self._task.add_done_callback(self._answered)
        if body.is_complete:
            self._stop_timer()
            exchange.push_end()

    def _feed(self, exchange: Http1Exchange) -> None:
        """Move what belongs to the body from the buffer to the exchange."""
        waiting = exchange.body_waiting_bytes
        if self._body is None or self.body_complete or waiting > self._limits.body_waiting_bytes:
            return
        exchange.push(self._body.take(self._buffer))
        if self._body.is_complete:
            self._stop_timer()
            exchange.push_end()

    def _hold_back(self) -> None:
        """Read from the socket only what there is room for."""
        if self._transport is None:
            return
        reads = len(self._buffer) <= self._limits.body_waiting_bytes
        if reads != self._reads and not self._transport.is_closing():
            self._reads = reads
            if reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _answered(self, task: asyncio.Task[None]) -> None:
        """Go on with the next request when the task of the present one has ended."""
        exchange, self._exchange = self._exchange, None
        self._task = None
        if self._transport is None or exchange is None:
            return
        if not self.body_complete:
            self._linger()
        elif not exchange.keeps_connection or self._at_eof or task.cancelled():
            self._transport.close()
        else:
            self._body = None
            self._await_request()
            self._advance()

    def _refuse(self, error: BadRequest) -> None:
        """Answer what is no request, and close."""
        body = f"{error.text}\n".encode()
        self.send(
            f"HTTP/1.1 {int(error.status)} {_phrase(error.status)}\r\n"
            "content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode("latin-1")
            + body
        )
        self._linger()

    def _linger(self) -> None:
        """Close soon, dropping what still arrives: at once, the client would not see the answer."""
        self._lingers = True
        self._buffer.clear()
        self._stop_timer()
        assert self._transport is not None
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(self._limits.linger_s, self.close)
        self._hold_back()


def _phrase(status: int) -> str:
    return PHRASES.get(status) or HTTPStatus(status).phrase
