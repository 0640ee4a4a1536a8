"""Cut the body of an HTTP/1.1 request out of the bytes of its connection. RFC 9112 §6, §7."""

from __future__ import annotations

from http import HTTPStatus

from raftkv.rpc.http_exchange import BadRequest

__all__ = ["BodyDecoder", "RawBody"]

CHUNK_LINE_BYTES_MAX = 256
"""The size of a chunk with its extensions, which are ignored."""
TRAILER_BYTES_MAX = 8 << 10
"""Fields after the last chunk, which are ignored."""


class BodyDecoder:
    """The body of one request: `length` bytes, or chunks where it is None."""

    def __init__(self, length: int | None) -> None:
        self._is_chunked = length is None
        self._left = length or 0
        """Bytes that the body, or the chunk under way, still lacks."""
        self._in_chunk = False
        self._in_trailers = False
        self.is_complete = length == 0

    def take(self, buffer: bytearray) -> bytes:
        """Remove from `buffer` what belongs to the body and return its content.

        Returns b"" where more bytes are needed. Raises BadRequest.
        """
        if not self._is_chunked:
            return self._take_content(buffer)
        pieces = []
        while not self.is_complete:
            if self._in_trailers:
                if not self._skip_trailer(buffer):
                    break
            elif self._in_chunk:
                pieces.append(self._take_content(buffer))
                if self._left or not self._end_chunk(buffer):
                    break
            elif not self._begin_chunk(buffer):
                break
        return b"".join(pieces)

    def _take_content(self, buffer: bytearray) -> bytes:
        piece = bytes(buffer[: self._left])
        del buffer[: len(piece)]
        self._left -= len(piece)
        self.is_complete = not self._left and not self._is_chunked
        return piece

    def _begin_chunk(self, buffer: bytearray) -> bool:
        line = _take_line(buffer, CHUNK_LINE_BYTES_MAX)
        if line is None:
            return False
        digits = line.partition(b";")[0].strip(b" \t")
        if not 1 <= len(digits) <= 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise BadRequest(HTTPStatus.BAD_REQUEST, "malformed chunk size")
        self._left = int(digits, 16)
        self._in_chunk = self._left > 0
        self._in_trailers = self._left == 0
        return True

    def _end_chunk(self, buffer: bytearray) -> bool:
        if len(buffer) < 2:
            return False
        if buffer[:2] != b"\r\n":
            raise BadRequest(HTTPStatus.BAD_REQUEST, "a chunk is longer than its size")
        del buffer[:2]
        self._in_chunk = False
        return True

    def _skip_trailer(self, buffer: bytearray) -> bool:
        line = _take_line(buffer, TRAILER_BYTES_MAX)
        if line is None:
            return False
        self.is_complete = not line
        return True


class RawBody:
    """What follows a change of protocol: everything, without end."""

    is_complete = False

    def take(self, buffer: bytearray) -> bytes:
        """Remove all from `buffer` and return it."""
        content = bytes(buffer)
        buffer.clear()
        return content


def _take_line(buffer: bytearray, bytes_max: int) -> bytes | None:
    """Remove a line and return it without its end, or None where it is not complete."""
    end = buffer.find(b"\r\n", 0, bytes_max + 2)
    if end >= 0:
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        return line
    if len(buffer) > bytes_max:
        raise BadRequest(HTTPStatus.BAD_REQUEST, "a line of the body is too long")
    return None
