"""The frames that members exchange, as bytes.

    u32 length of what follows | u32 crc32 of type and body | u8 type | body          little-endian

`_native/peer_messages` has the body of a MESSAGES frame; handshakes are msgpack. Forwarded batches
and request payloads are raw blocks, never encoded again.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

import msgpack  # type: ignore[import-untyped]
from zlib_ng import zlib_ng

from raftkv._native import peer_messages
from raftkv.peer.errors import FrameError
from raftkv.raft.messages import Message

PROTOCOL_VERSION = 3
"""Both sides must name the same one in their handshake."""

FRAME_BYTES_MAX = 128 << 20
"""Length of the largest frame; one entry must fit."""

COPIED_BYTES_MAX = 16 << 10
"""A frame up to this is copied rather than looked at through a view, which costs more."""

_HEADER = struct.Struct("<II")
_U64_MAX = (1 << 64) - 1


class FrameType(IntEnum):
    """What a frame's body is; the values never change."""

    HELLO = 1
    """msgpack map: the first frame of a connection, in each direction."""
    REFUSED = 2
    """utf-8: why the connection is closed; instead of the answering HELLO."""
    MESSAGES = 3
    FORWARD = 4
    """Raw: a one-way batch."""
    REQUEST = 5
    """u64 number, u8 length of kind, kind, payload."""
    RESPONSE = 6
    """u64 number, payload."""
    FAILED = 7
    """u64 number, utf-8 reason."""
    REMOVED = 8
    """Empty: the caller was removed from the cluster; instead of the answering HELLO."""
    DISCOVER = 9
    """Empty: who are you all? Asked by one who is to join, as its only frame."""
    DISCOVERED = 10
    """utf-8 JSON: the cluster's id and members."""


_FRAME_TYPES = {int(type_): type_ for type_ in FrameType}


def encode_frame(type_: FrameType, *blocks: bytes) -> bytes:
    """Make one frame of the blocks in order. Raises FrameError above FRAME_BYTES_MAX."""
    kind = bytes((type_,))
    crc = zlib_ng.crc32(kind)
    length = 5
    for block in blocks:
        crc = zlib_ng.crc32(block, crc)
        length += len(block)
    if length > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {length} bytes is larger than {FRAME_BYTES_MAX}")
    return b"".join((_HEADER.pack(length, crc), kind, *blocks))


class FrameDecoder:
    """Cuts a stream of bytes into frames. Keeps at most one unfinished frame."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self.frame_bytes_max = frame_bytes_max
        """Length of the largest frame to come."""

    @property
    def is_between_frames(self) -> bool:
        """Whether what comes next is the beginning of a frame."""
        return not self._buffer

    def feed(self, data: bytes) -> list[tuple[FrameType, bytes]]:
        """Return the frames that are complete with `data`, oldest first.

        Raises FrameError for a wrong length, checksum or type; the decoder is of no use afterwards.
        """
        if not self._buffer and len(data) <= COPIED_BYTES_MAX:
            frame = self._one_frame(data)
            if frame is not None:
                return [frame]
        if self._buffer:
            self._buffer += data
            frames, used = self._cut(self._buffer)
            del self._buffer[:used]
        else:
            frames, used = self._cut(data)
            if used < len(data):
                self._buffer += memoryview(data)[used:]
        return frames

    def _one_frame(self, data: bytes) -> tuple[FrameType, bytes] | None:
        """Return the frame if `data` is just one: what one put in flight brings, so it is short."""
        if len(data) < _HEADER.size + 1:
            return None
        length, crc = _HEADER.unpack_from(data)
        if length + 4 != len(data) or length > self.frame_bytes_max:
            return None
        type_ = _FRAME_TYPES.get(data[8])
        if type_ is None or zlib_ng.crc32(data[8:]) != crc:
            return None
        return type_, data[9:]

    def _cut(self, source: bytes | bytearray) -> tuple[list[tuple[FrameType, bytes]], int]:
        """Return the complete frames at the beginning of `source`, and how many bytes they take."""
        frames = []
        start = 0
        with memoryview(source) as view:
            while len(view) - start >= _HEADER.size:
                length, crc = _HEADER.unpack_from(view, start)
                if not 5 <= length <= self.frame_bytes_max:
                    raise FrameError(f"a frame may not have {length} bytes")
                end = start + 4 + length
                if len(view) < end:
                    break
                with view[start + 8 : end] as checked:
                    if zlib_ng.crc32(checked) != crc:
                        raise FrameError("a frame does not match its checksum")
                    type_ = _FRAME_TYPES.get(checked[0])
                    if type_ is None:
                        raise FrameError(f"unknown frame type {checked[0]}")
                    frames.append((type_, bytes(checked[1:])))
                start = end
        return frames, start


def encode_messages(messages: Sequence[Message]) -> bytes:
    """Make the MESSAGES frame of messages to one member. Raises FrameError as `encode_frame`."""
    frame = peer_messages.encode_frame(messages)
    if len(frame) > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {len(frame)} bytes is larger than {FRAME_BYTES_MAX}")
    return frame


def decode_messages(body: bytes) -> list[Message]:
    """Read the body of a MESSAGES frame. Raises FrameError for anything out of place."""
    try:
        return peer_messages.decode(body)
    except ValueError as error:
        raise FrameError(str(error)) from error


def _check_u64(number: object) -> int:
    if type(number) is not int or not 0 <= number <= _U64_MAX:
        raise FrameError(f"{number!r} is no unsigned 64-bit number")
    return number


def encode_hello(cluster_id: int, sender: int, receiver: int, url: str = "") -> bytes:
    """Make the first frame of a connection: who speaks to whom, in which cluster.

    `url`: where the sender is reached, for a receiver that does not know it yet.
    """
    fields: dict[str, int | str] = {
        "version": PROTOCOL_VERSION,
        "cluster_id": cluster_id,
        "from": sender,
        "to": receiver,
    }
    if url:
        fields["url"] = url
    return encode_frame(FrameType.HELLO, msgpack.packb(fields))


def url_of_hello(body: bytes) -> str:
    """Return where the sender of a HELLO, decoded before, is reached; empty if it does not say."""
    url = msgpack.unpackb(body).get("url", "")
    return url if isinstance(url, str) else ""


def decode_hello(body: bytes) -> tuple[int, int, int, int]:
    """Return version, cluster id, sender, receiver. Raises FrameError."""
    try:
        fields = msgpack.unpackb(body)
    except Exception as error:
        raise FrameError(f"the handshake is not msgpack: {error}") from error
    if not isinstance(fields, dict):
        raise FrameError("the handshake is no map")
    version, cluster_id, sender, receiver = (
        _check_u64(fields.get(name)) for name in ("version", "cluster_id", "from", "to")
    )
    return version, cluster_id, sender, receiver


def encode_request(number: int, kind: str, payload: bytes) -> bytes:
    """Make a REQUEST frame; `kind` has 1 to 255 bytes."""
    name = kind.encode()
    if not 1 <= len(name) <= 255:
        raise ValueError("the kind of a request has 1 to 255 bytes")
    return encode_frame(
        FrameType.REQUEST, number.to_bytes(8, "little"), bytes((len(name),)), name, payload
    )


def decode_request(body: bytes) -> tuple[int, str, bytes]:
    """Return number, kind and payload of a REQUEST. Raises FrameError."""
    if len(body) < 9 or len(body) < 9 + body[8]:
        raise FrameError("a request is cut short")
    end = 9 + body[8]
    try:
        kind = body[9:end].decode()
    except UnicodeDecodeError as error:
        raise FrameError("the kind of a request is not utf-8") from error
    return int.from_bytes(body[:8], "little"), kind, body[end:]


def encode_answer(type_: FrameType, number: int, payload: bytes) -> bytes:
    """Make a RESPONSE or FAILED frame."""
    return encode_frame(type_, number.to_bytes(8, "little"), payload)


def decode_answer(body: bytes) -> tuple[int, bytes]:
    """Return number and payload of a RESPONSE or FAILED. Raises FrameError."""
    if len(body) < 8:
        raise FrameError("an answer is cut short")
    return int.from_bytes(body[:8], "little"), body[8:]
