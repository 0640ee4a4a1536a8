"""HTTP/2 frames as bytes, for clients that must be able to get them wrong."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    length = struct.pack(">I", len(payload))[1:]
    return length + struct.pack(">BBI", kind, flags, stream_id) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field in HPACK, literal without indexing, lengths below 2^14."""

    def string(text: bytes) -> bytes:
        if len(text) < 127:
            return bytes([len(text)]) + text
        rest, encoded = len(text) - 127, bytearray([127])
        while rest >= 128:
            encoded.append(rest & 0x7F | 0x80)
            rest >>= 7
        return bytes([*encoded, rest]) + text

    return b"\0" + string(name) + string(value)


def request_headers(path: bytes, *more: tuple[bytes, bytes]) -> bytes:
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x"),
        (b"content-type", b"application/grpc"),
        *more,
    ]
    return b"".join(literal(*f) for f in fields)


def message(body: bytes) -> bytes:
    return struct.pack(">BI", 0, len(body)) + body
