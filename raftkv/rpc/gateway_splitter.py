"""Cut a body that is one JSON object after the other into the objects, as they arrive."""

from __future__ import annotations

import re
from collections.abc import Iterator

from raftkv.rpc.gateway_json import JsonError

__all__ = ["ObjectSplitter"]

_OUTSIDE = re.compile(rb'["{}]')
_INSIDE = re.compile(rb'["\\]')
_BLANK = b" \t\r\n"


class ObjectSplitter:
    """Takes bytes in pieces of any size; remembers where it is. O(bytes) in all."""

    def __init__(self, object_bytes_max: int) -> None:
        self._object_bytes_max = object_bytes_max
        self._buffer = bytearray()
        self._seen = 0
        """Bytes of the buffer that were looked at."""
        self._depth = 0
        self._in_string = False

    def push(self, piece: bytes) -> Iterator[bytes]:
        """Yield the objects that are complete with this piece. Raises JsonError behind them."""
        self._buffer += piece
        while (text := self._next()) is not None:
            yield text
        if len(self._buffer) > self._object_bytes_max:
            raise JsonError(f"an object has more than {self._object_bytes_max} bytes")

    @property
    def is_between(self) -> bool:
        """Whether nothing of a further object has arrived."""
        return not self._buffer

    def _next(self) -> bytes | None:
        if self._depth == 0:
            blank = len(self._buffer) - len(self._buffer.lstrip(_BLANK))
            del self._buffer[:blank]
            if not self._buffer:
                return None
            if self._buffer[:1] != b"{":
                raise JsonError("want an object")
        while True:
            pattern = _INSIDE if self._in_string else _OUTSIDE
            match = pattern.search(self._buffer, self._seen)
            if match is None:
                self._seen = len(self._buffer)
                return None
            mark = match.group()
            if mark == b"\\":
                if match.end() == len(self._buffer):
                    self._seen = match.start()
                    return None
                self._seen = match.end() + 1
                continue
            self._seen = match.end()
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark == b"{":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    return self._take()

    def _take(self) -> bytes:
        text = bytes(self._buffer[: self._seen])
        del self._buffer[: self._seen]
        self._seen = 0
        return text
