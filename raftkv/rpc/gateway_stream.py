"""A call of the JSON gateway, as the services' handlers see it: like the stream of a gRPC call.

What a handler answers becomes JSON on the HTTP exchange. The counts of the method are kept here as
the native streams keep theirs, so that a call is a call in the metrics whichever way it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from google.protobuf.message import Message

from raftkv._native.http2_handler import StreamHandler
from raftkv._native.http2_methods import Method
from raftkv.errors import GrpcStatus
from raftkv.rpc.gateway_json import encode
from raftkv.rpc.gateway_large import LargeAnswer
from raftkv.rpc.http_exchange import Exchange

__all__ = ["GATEWAY_FIELDS", "GatewayStream", "http_status"]

CONTENT_TYPE = "application/json"
GATEWAY_FIELDS = (("grpc-metadata-content-type", "application/grpc"),)
"""What an answer that came from a service has."""
QUEUED_BYTES_MAX = 256 << 20
"""JSON that a client has not taken; an answer beyond ends the call with RESOURCE_EXHAUSTED."""

_HTTP_STATUS = {
    0: 200,
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
"""grpc-gateway's mapping of status codes."""


def http_status(code: int) -> int:
    """Return the HTTP status that tells a gRPC status."""
    return _HTTP_STATUS.get(code, 500)


def status_json(code: int, text: str) -> dict[str, object]:
    """Return an error as the gateway writes it."""
    return {"code": code, "message": text, "details": []}


class GatewayStream:
    """The `Stream` of one gateway call; `_native/http2_stream.pyi` says what its methods mean."""

    stream_id = 0
    is_post = True
    http_method = b"POST"
    peer_common_name = ""
    """Certificates say nothing about who asks through the gateway."""

    def __init__(
        self,
        exchange: Exchange,
        method: Method,
        response_type: type[Message],
        metadata: Sequence[tuple[bytes, bytes]],
        deadline_s: float | None,
    ) -> None:
        self._exchange = exchange
        self._method = method
        self._response_type = response_type
        self._metadata = list(metadata)
        self._began_s = method.begin()
        self._handler: StreamHandler | None = None
        self._large: LargeAnswer | None = None
        self.path = method.path
        self.deadline_s = deadline_s
        self.is_secure = exchange.is_secure
        self.peer = exchange.peer
        self.connection_id = exchange.connection_id
        self.closed = False
        self.on_closed: Callable[[], object] | None = None
        self.answers: list[bytes] = []
        """What a unary method answered, as JSON."""
        self.ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        """The status, when the handler has finished."""

    @property
    def metadata(self) -> list[tuple[bytes, bytes]]:
        """The metadata of the call, made of the request's headers."""
        return list(self._metadata)

    @property
    def on_drained(self) -> Callable[[], object] | None:
        """Called when the client has taken most of what is queued."""
        return self._exchange.on_drained

    @on_drained.setter
    def on_drained(self, callback: Callable[[], object] | None) -> None:
        self._exchange.on_drained = callback

    @property
    def pending_bytes(self) -> int:
        """JSON queued here and not yet given to the socket."""
        return self._exchange.pending_bytes

    @property
    def drain_pending(self) -> bool:
        """Whether `on_drained` is still to be called."""
        return not self.closed and self._exchange.drain_pending

    def reply(self, message: bytes) -> bool:
        """Take the one answer of a unary method."""
        return self.send(message) and self.finish()

    def fail(self, code: int, text: str) -> bool:
        """Take an error; the same as `finish`."""
        return self.finish(code, text)

    def send(self, head: bytes, tail: bytes | None = None) -> bool:
        """Take one message; a stream's is written at once, as a line."""
        if self.closed or self.ended.done():
            return False
        content = head if tail is None else head + tail
        if self._large is not None:
            self._exchange.write(self._large.push(content))
            return True
        text = encode(self._response_type.FromString(content))
        self._method.gave()
        if not self._method.is_streaming:
            self.answers.append(text)
            return True
        if self._exchange.pending_bytes + len(text) > QUEUED_BYTES_MAX:
            self.finish(
                int(GrpcStatus.RESOURCE_EXHAUSTED), "grpc: the client does not take its answers"
            )
            return False
        self.begin_lines()
        self._exchange.write(b'{"result":%b}\n' % text)
        return True

    def begin_large(self, size: int) -> bool:
        """Begin a unary answer that comes in pieces; `send` is given them."""
        if self.closed or self.ended.done():
            return False
        self._method.gave()
        self._large = LargeAnswer(self._response_type)
        self._exchange.begin(200, CONTENT_TYPE, GATEWAY_FIELDS)
        return True

    def reset(self) -> bool:
        """Break off in the middle of an answer."""
        if self.closed or self.ended.done():
            return False
        self._exchange.abort()
        return self.finish(int(GrpcStatus.UNKNOWN), "broken off")

    def begin_lines(self) -> None:
        """Begin the answer of a stream, if it has not begun."""
        if not self._exchange.began:
            self._exchange.begin(200, CONTENT_TYPE, GATEWAY_FIELDS)

    def finish(self, code: int = 0, text: str = "") -> bool:
        """Take the status; nothing is sent after it."""
        if self.closed or self.ended.done():
            return False
        if self._large is not None and code == 0:
            self._exchange.write(self._large.end())
        self._method.end(code, self._began_s)
        self.ended.set_result((code, text))
        return True

    def close(self) -> None:
        """Tell whoever waits for the end that it has come, finished or not. Harmless twice."""
        if self.closed:
            return
        if not self.ended.done():
            self._method.end(int(GrpcStatus.CANCELED), self._began_s)
            self.ended.cancel()
        self.closed = True
        on_closed, self.on_closed, self.on_drained = self.on_closed, None, None
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_closed()
        if on_closed is not None:
            on_closed()

    def tell_end_to(self, handler: StreamHandler) -> None:
        """Have the handler of a streaming call told of its end, too."""
        self._handler = handler

    @property
    def is_streaming(self) -> bool:
        """Whether the method answers more than once."""
        return self._method.is_streaming

    def took(self) -> None:
        """Count a message of the client."""
        self._method.took()
