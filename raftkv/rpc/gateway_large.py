"""A large answer as JSON while its protobuf bytes come in pieces: never the whole of it at once.

A message is its fields one after the other, so each field can be read as a message of that field
alone and written as JSON; entries of a repeated field follow each other and share one array.
"""

from __future__ import annotations

from google.protobuf.message import Message

from raftkv.rpc.gateway_json import encode

__all__ = ["LargeAnswer"]

_VARINT, _LENGTH_DELIMITED = 0, 2


class LargeAnswer:
    """Turns the pieces of one message into pieces of JSON."""

    def __init__(self, message_type: type[Message]) -> None:
        self._message_type = message_type
        self._repeated = {
            field.number: b'"%b":[' % field.name.encode()
            for field in message_type.DESCRIPTOR.fields
            if field.is_repeated
        }
        self._buffer = bytearray()
        self._open = b""
        """The beginning of the array that is being written, if one is."""
        self._is_empty = True

    def push(self, piece: bytes) -> bytes:
        """Return the JSON of the fields that are complete with this piece."""
        self._buffer += piece
        written: list[bytes] = []
        at = 0
        while (end := self._field_end(at)) is not None:
            self._write(bytes(self._buffer[at:end]), written)
            at = end
        del self._buffer[:at]
        return b"".join(written)

    def end(self) -> bytes:
        """Return what closes the JSON. The message must be complete."""
        assert not self._buffer, "a field was not complete"
        return (b"{" if self._is_empty else b"") + (b"]}" if self._open else b"}")

    def _write(self, field: bytes, written: list[bytes]) -> None:
        text = encode(self._message_type.FromString(field))[1:-1]
        if not text:  # its value is the default
            return
        array = self._repeated.get(_varint(field, 0)[0] >> 3, b"")
        if array and array == self._open:
            written.append(b"," + text[len(array) : -1])
            return
        before = b"]," if self._open else b","
        written += (b"{" if self._is_empty else before, text[:-1] if array else text)
        self._open = array
        self._is_empty = False

    def _field_end(self, at: int) -> int | None:
        """Return where the field that begins at `at` ends, None if it has not come whole."""
        try:
            tag, at = _varint(self._buffer, at)
            size, at = _varint(self._buffer, at)
        except IndexError:
            return None
        if tag & 7 == _VARINT:
            return at
        if tag & 7 != _LENGTH_DELIMITED:
            raise ValueError("the API has no field of this wire type")
        return at + size if at + size <= len(self._buffer) else None


def _varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Read a varint; returns it and where it ends. Raises IndexError where it is cut."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
