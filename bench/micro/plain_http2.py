"""One gRPC request over HTTP/2 in plain Python: the twin that the native front end is beside.

It takes what `bench.raw_client` sends (literal headers, no Huffman coding, small messages) and
nothing else: no flow control, no continuation, no limits. Slow, easy to read, not for serving.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from bench.raw_client import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, frame, message


def literal(name: bytes, value: bytes) -> bytes:
    """Encode a header as an HPACK literal; both shorter than 127 bytes."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def literals(block: bytes) -> dict[bytes, bytes]:
    """Decode a header block that is made of such literals."""
    found, at = {}, 0
    while at < len(block):
        name_end = at + 2 + block[at + 1]
        value_end = name_end + 1 + block[name_end]
        found[block[at + 2 : name_end]] = block[name_end + 1 : value_end]
        at = value_end
    return found


OPENING = literal(b":status", b"200") + literal(b"content-type", b"application/grpc")
CLOSING = literal(b"grpc-status", b"0")


class PlainServer:
    """Answers the requests of one connection."""

    def __init__(self, answer: Callable[[bytes, bytes], bytes]) -> None:
        """`answer`: (path, request message) -> response message."""
        self._answer = answer
        self._input = b""
        self._paths: dict[int, bytes] = {}

    def receive(self, data: bytes) -> bytes:
        """Take what was read; return what is to be written."""
        self._input += data
        self._input = self._input.removeprefix(PREFACE)
        written, at = [], 0
        while len(self._input) - at >= 9:
            length = int.from_bytes(self._input[at : at + 3], "big")
            kind, _flags, stream_id = struct.unpack_from(">BBI", self._input, at + 3)
            if len(self._input) - at - 9 < length:
                break
            payload = self._input[at + 9 : at + 9 + length]
            at += 9 + length
            if kind == HEADERS:
                self._paths[stream_id] = literals(payload)[b":path"]
            elif kind == DATA and length:
                body = self._answer(self._paths.pop(stream_id), payload[5:])
                written += [
                    frame(HEADERS, END_HEADERS, stream_id, OPENING),
                    frame(DATA, 0, stream_id, message(body)),
                    frame(HEADERS, END_HEADERS | END_STREAM, stream_id, CLOSING),
                ]
        self._input = self._input[at:]
        return b"".join(written)
