"""Takes the bytes of an input apart into the numbers and strings of a program."""

from __future__ import annotations

from collections.abc import Iterator


class Pieces:
    """Reads from the front; what is asked for behind the end is zero or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """Take one byte."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def short(self) -> int:
        """Take two bytes, little-endian."""
        return self.byte() | self.byte() << 8

    def string(self) -> bytes:
        """Take a string behind its length: one byte, or 255 and two more."""
        size = self.byte()
        if size == 255:
            size = self.short()
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        """Take all that is left."""
        rest, self._at = self._data[self._at :], len(self._data)
        return rest


def string(content: bytes) -> bytes:
    """Write what `Pieces.string` reads."""
    if len(content) < 255:
        return bytes([len(content)]) + content
    return b"\xff" + len(content).to_bytes(2, "little") + content


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Cut into pieces of `size` bytes; 0: one piece."""
    size = size or max(1, len(data))
    for start in range(0, len(data), size):
        yield data[start : start + size]
