"""A gRPC client made of frames, for loads that real clients cannot put on: it may stop reading,
hold thousands of streams in one process, or send what no client would.
"""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
WINDOW_BYTES = (1 << 31) - 1
SETTINGS_WIDE = struct.pack(">HI", 4, WINDOW_BYTES)
READ_BYTES = 64 << 10


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Encode one HTTP/2 frame."""
    return (
        struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload
    )


def headers(path: str) -> bytes:
    """Encode the headers of a gRPC request in HPACK, as literals; values below 127 bytes."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "bench"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    )
    texts = [text.encode() for pair in fields for text in pair]
    coded = [bytes([len(text)]) + text for text in texts]
    return b"".join(b"\0" + coded[i] + coded[i + 1] for i in range(0, len(coded), 2))


def message(body: bytes) -> bytes:
    """Frame a gRPC message."""
    return struct.pack(">BI", 0, len(body)) + body


class RawClient:
    """One connection; `async with`. Answers SETTINGS and PING while `drain` runs."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._address = host, int(port)
        self._next_stream = 1
        self.received_bytes = 0

    async def __aenter__(self) -> RawClient:
        self.reader, self.writer = await asyncio.open_connection(*self._address, limit=READ_BYTES)
        wide = struct.pack(">I", WINDOW_BYTES - 65535)
        self.writer.write(
            PREFACE + frame(SETTINGS, 0, 0, SETTINGS_WIDE) + frame(WINDOW_UPDATE, 0, 0, wide)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()

    def call(self, path: str, body: bytes, *, end: bool = True) -> int:
        """Send one request; returns its stream."""
        stream_id, self._next_stream = self._next_stream, self._next_stream + 2
        self.writer.write(
            frame(HEADERS, END_HEADERS, stream_id, headers(path))
            + frame(DATA, END_STREAM if end else 0, stream_id, message(body))
        )
        return stream_id

    async def receive(self) -> tuple[int, int, int, bytes]:
        """Return (kind, flags, stream, payload) of the next frame that is not about the connection.

        Raises IncompleteReadError when the member has closed it.
        """
        while True:
            head = await self.reader.readexactly(9)
            kind, flags, stream_id = struct.unpack(">BBI", head[3:])
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
            self.received_bytes += 9 + len(payload)
            if kind == SETTINGS and not flags & ACK:
                self.writer.write(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                self.writer.write(frame(PING, ACK, 0, payload))
            elif stream_id:
                return kind, flags, stream_id, payload

    async def answered(self, count: int) -> None:
        """Wait until `count` DATA frames have come: one per small answer."""
        while count:
            kind, *_ = await self.receive()
            count -= kind == DATA
