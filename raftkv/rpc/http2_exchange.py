"""A plain HTTP request on an HTTP/2 connection, which it shares with gRPC calls."""

from __future__ import annotations

import asyncio

from raftkv._native.http2 import Stream
from raftkv.rpc.http_exchange import Exchange, Fields

__all__ = ["Http2Exchange"]


class Http2Exchange(Exchange):
    """Answers through the native stream, in whose queue pieces wait for the client."""

    def __init__(self, stream: Stream) -> None:
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in stream.metadata}
        headers.setdefault("host", headers.get(":authority", ""))
        super().__init__(
            stream.http_method.decode("latin-1"),
            stream.path.decode("latin-1"),
            headers,
            is_secure=stream.is_secure,
        )
        self._stream = stream
        self.peer = stream.peer
        self.connection_id = stream.connection_id
        self.task: asyncio.Task[None] | None = None

    def begin(
        self, status: int, content_type: str, fields: Fields = (), length: int | None = None
    ) -> None:
        self.began = True
        encoded = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in (*self.answer_fields, *fields)
        ]
        if self.method == "HEAD":
            length = 0  # a length without a body would be an error of framing
        self._stream.begin_http(
            status, content_type.encode("latin-1"), encoded, -1 if length is None else length
        )
        self._stream.on_drained = self._drained

    def write(self, piece: bytes) -> None:
        self._stream.send(piece)

    def end(self) -> None:
        self.ended = True
        self._stream.finish()

    def abort(self) -> None:
        self.ended = True
        self._stream.reset()

    def _drained(self) -> None:
        if self.on_drained is not None:
            self.on_drained()

    @property
    def pending_bytes(self) -> int:
        return self._stream.pending_bytes

    @property
    def drain_pending(self) -> bool:
        return self._stream.drain_pending

    # StreamHandler, for the body.

    def on_message(self, message: bytes) -> None:
        self.push(message)

    def on_half_close(self) -> None:
        self.push_end()

    def on_closed(self) -> None:
        self.ended = True
        self.let_go()
        if self.task is not None:
            self.task.cancel()
