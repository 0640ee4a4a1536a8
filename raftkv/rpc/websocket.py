"""A gateway call over a WebSocket: each message is a request, each line of the answer a message.

So browsers can watch. The socket is opened by GET on the path of the RPC, as in etcd; a token comes
in the Authorization header or, as browsers can set none, as subprotocols `Bearer, <token>`.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from raftkv.rpc.http1 import Http1Exchange
from raftkv.rpc.http_exchange import BadRequest, Exchange, Fields
from raftkv.rpc.websocket_frames import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    WebSocketError,
    accept_key,
    frame,
)

__all__ = ["WebSocketExchange", "wants_websocket"]

VERSION = "13"
NORMAL = (1000).to_bytes(2, "big")
BEARER = "Bearer"


def wants_websocket(exchange: Exchange) -> bool:
    """Tell whether a request asks for a WebSocket."""
    return exchange.method == "GET" and exchange.headers.get("upgrade", "").lower() == "websocket"


class WebSocketExchange(Exchange):
    """Looks to the gateway like a POST whose body never ends."""

    def __init__(self, inner: Exchange, message_bytes_max: int) -> None:
        """Answer the handshake of `inner`. Raises BadRequest where that is not one."""
        offered = inner.headers.get("sec-websocket-protocol", "")
        protocols = [one.strip() for one in offered.split(",")]
        headers = dict(inner.headers)
        if len(protocols) == 2 and protocols[0] == BEARER:
            headers.setdefault("authorization", protocols[1])
        super().__init__("POST", quote(inner.path), headers, is_secure=inner.is_secure)
        key = inner.headers.get("sec-websocket-key", "")
        if (
            not isinstance(inner, Http1Exchange)
            or inner.headers.get("sec-websocket-version") != VERSION
            or not key
        ):
            inner.answer_fields.append(("sec-websocket-version", VERSION))
            raise BadRequest(HTTPStatus.UPGRADE_REQUIRED, "want WebSocket version 13 on HTTP/1.1")
        self.peer = inner.peer
        self.is_long = True
        self._inner = inner
        self._frames = FrameReader(message_bytes_max)
        fields = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", accept_key(key)),
        ]
        if protocols[0] == BEARER:
            fields.append(("sec-websocket-protocol", BEARER))
        inner.on_drained = self._drained
        inner.upgrade(fields)

    # The request.

    async def read(self) -> bytes:
        """Return the next message. The end of the client cancels whoever reads."""
        while not self._pieces:
            piece = await self._inner.read()
            try:
                messages = self._frames.push(piece)
            except WebSocketError as error:
                self._close(error.code.to_bytes(2, "big") + str(error).encode())
                return b""
            for message in messages:
                if message.opcode == TEXT and message.content:
                    self._pieces.append(message.content)
                elif message.opcode == PING and not self._inner.drain_pending:
                    # Who reads nothing is not owed an answer to every ping (RFC 6455 §5.5.3).
                    self._inner.write(frame(PONG, message.content))
                elif message.opcode == CLOSE:
                    self._close(message.content[:2] or NORMAL)
                    return b""
        return self._pieces.popleft()

    async def read_all(self, bytes_max: int) -> bytes:
        """Return the first message: a call that is no stream has one request."""
        return await self.read()

    # The answer.

    def begin(
        self, status: int, content_type: str, fields: Fields = (), length: int | None = None
    ) -> None:
        """Note that the answer has begun: a message has no head."""
        self.began = True

    def write(self, piece: bytes) -> None:
        """Send a message for each line."""
        for line in piece.splitlines():
            self._inner.write(frame(TEXT, line))

    def end(self) -> None:
        """Say goodbye and close."""
        self._close(NORMAL)

    def abort(self) -> None:
        """Close without a word."""
        self.ended = True
        self._inner.abort()

    def _close(self, reason: bytes) -> None:
        if not self.ended:
            self.ended = True
            self._inner.write(frame(CLOSE, reason[:125]))
            self._inner.close_connection()

    @property
    def pending_bytes(self) -> int:
        return self._inner.pending_bytes

    @property
    def drain_pending(self) -> bool:
        return self._inner.drain_pending

    def _drained(self) -> None:
        if self.on_drained is not None:
            self.on_drained()
