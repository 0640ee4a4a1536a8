"""Frames of WebSocket, RFC 6455, without I/O: what a server reads and writes."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

__all__ = [
    "CLOSE",
    "PING",
    "PONG",
    "TEXT",
    "FrameReader",
    "Message",
    "WebSocketError",
    "accept_key",
    "frame",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
CONTROL_BYTES_MAX = 125
_FINAL, _MASKED = 0x80, 0x80
_EXTENSIONS = 0x70
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

PROTOCOL_ERROR, TOO_LARGE = 1002, 1009


class WebSocketError(Exception):
    """The client broke the protocol; `code` is what the close frame says."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """A message put together of its frames, or a control frame."""

    opcode: int
    """TEXT also for a binary one: the gateway takes JSON either way."""
    content: bytes


def accept_key(key: str) -> str:
    """Return what proves to a client that its handshake was understood."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def frame(opcode: int, content: bytes) -> bytes:
    """Return one whole, unmasked frame."""
    size = len(content)
    if size < 126:
        return bytes((_FINAL | opcode, size)) + content
    if size < 1 << 16:
        return bytes((_FINAL | opcode, 126)) + size.to_bytes(2, "big") + content
    return bytes((_FINAL | opcode, 127)) + size.to_bytes(8, "big") + content


class FrameReader:
    """Cuts messages out of what a client sends, in pieces of any size."""

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._buffer = bytearray()
        self._parts: list[bytes] | None = None
        """Of a message whose last frame has not come; none of them is empty."""
        self._parts_bytes = 0

    def push(self, piece: bytes) -> list[Message]:
        """Return the messages that are complete with this piece. Raises WebSocketError."""
        self._buffer += piece
        found = []
        while (cut := self._next_frame()) is not None:
            message = self._take(*cut)
            if message is not None:
                found.append(message)
        return found

    def _next_frame(self) -> tuple[int, bool, bytes] | None:
        """Remove one frame from the buffer: opcode, whether it is the last, content."""
        if len(self._buffer) < 2:
            return None
        first, second = self._buffer[0], self._buffer[1]
        opcode, size, at = first & 0x0F, second & 0x7F, 2
        if first & _EXTENSIONS or not second & _MASKED:
            raise WebSocketError(PROTOCOL_ERROR, "an extension, or a frame that is not masked")
        if opcode >= CLOSE and (size > CONTROL_BYTES_MAX or not first & _FINAL):
            raise WebSocketError(PROTOCOL_ERROR, "a control frame is long or cut")
        if size >= 126:
            at += 2 if size == 126 else 8
            if len(self._buffer) < at:
                return None
            size = int.from_bytes(self._buffer[2:at], "big")
        # Counted, not summed up, and without the empty ones: a message may come in any number.
        if opcode < CLOSE and size + self._parts_bytes > self._message_bytes_max:
            raise WebSocketError(TOO_LARGE, "the message is too large")
        if len(self._buffer) < at + 4 + size:
            return None
        mask = bytes(self._buffer[at : at + 4])
        content = _unmasked(self._buffer[at + 4 : at + 4 + size], mask)
        del self._buffer[: at + 4 + size]
        return opcode, bool(first & _FINAL), content

    def _take(self, opcode: int, is_final: bool, content: bytes) -> Message | None:
        if opcode in (CLOSE, PING, PONG):
            return Message(opcode, content)
        if opcode not in (CONTINUATION, TEXT, BINARY) or (
            (opcode == CONTINUATION) != (self._parts is not None)
        ):
            raise WebSocketError(PROTOCOL_ERROR, "a frame that does not belong here")
        parts = self._parts or []
        if content:
            parts.append(content)
        self._parts = None if is_final else parts
        self._parts_bytes = 0 if is_final else self._parts_bytes + len(content)
        return Message(TEXT, b"".join(parts)) if is_final else None


def _unmasked(content: bytearray, mask: bytes) -> bytes:
    """Undo the mask, all bytes at once."""
    size = len(content)
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(content, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")
