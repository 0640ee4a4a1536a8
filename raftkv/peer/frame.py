"""The frames that members exchange, as bytes.

    u32 length of what follows | u32 crc32 of type and body | u8 type | body          little-endian

Control fields are msgpack. The data of entries, forwarded batches and request payloads are raw
blocks behind them, never encoded again. A body of type MESSAGES:

    u32 length of control | control: a list of messages, each a list of its fields in the order of
    `_FIELDS`, the last one a flat list of (term, kind, checksum, bytes) of its entries | the data

Entries of an APPEND are contiguous and follow its `index`, so their indexes are not sent.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgpack  # type: ignore[import-untyped]

from raftkv.peer.errors import FrameError
from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Entry, EntryKind, Message, MessageType, SnapshotMetadata

PROTOCOL_VERSION = 2
"""Both sides must name the same one in their handshake."""

FRAME_BYTES_MAX = 128 << 20
"""Length of the largest frame; one entry must fit."""

_HEADER = struct.Struct("<II")
_U32 = struct.Struct("<I")
_U64_MAX = (1 << 64) - 1
_KINDS = {int(kind): kind for kind in EntryKind}
_TYPES = {int(type_): type_ for type_ in MessageType}
_FIELDS = 13
_ENTRY_FIELDS = 4


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
    crc = zlib.crc32(kind)
    length = 5
    for block in blocks:
        crc = zlib.crc32(block, crc)
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

    def feed(self, data: bytes) -> list[tuple[FrameType, bytes]]:
        """Return the frames that are complete with `data`, oldest first.

        Raises FrameError for a wrong length, checksum or type; the decoder is of no use afterwards.
        """
        if self._buffer:
            self._buffer += data
            frames, used = self._cut(self._buffer)
            del self._buffer[:used]
        else:
            frames, used = self._cut(data)
            if used < len(data):
                self._buffer += memoryview(data)[used:]
        return frames

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
                    if zlib.crc32(checked) != crc:
                        raise FrameError("a frame does not match its checksum")
                    type_ = _FRAME_TYPES.get(checked[0])
                    if type_ is None:
                        raise FrameError(f"unknown frame type {checked[0]}")
                    frames.append((type_, bytes(checked[1:])))
                start = end
        return frames, start


def encode_messages(messages: Sequence[Message]) -> bytes:
    """Make the MESSAGES frame of messages to one member."""
    control: list[list[Any]] = []
    data: list[bytes] = []
    for message in messages:
        entries: list[int] = []
        for entry in message.entries:
            entries += (entry.term, entry.kind, entry.checksum, len(entry.data))
            data.append(entry.data)
        control.append(
            [
                int(message.type),
                message.to,
                message.sender,
                message.term,
                message.log_term,
                message.index,
                message.commit,
                message.reject,
                message.reject_hint,
                message.context,
                message.force,
                _encode_snapshot(message.snapshot),
                entries,
            ]
        )
    packed: bytes = msgpack.packb(control)
    return encode_frame(FrameType.MESSAGES, _U32.pack(len(packed)), packed, *data)


def decode_messages(body: bytes) -> list[Message]:
    """Read the body of a MESSAGES frame. Raises FrameError for anything out of place."""
    control, offset = _unpack_control(body)
    if not isinstance(control, list):
        raise FrameError("the control block is no list")
    messages = []
    for fields in control:
        message, offset = _decode_message(fields, body, offset)
        messages.append(message)
    if offset != len(body):
        raise FrameError(f"{len(body) - offset} bytes too many behind the messages")
    return messages


def _unpack_control(body: bytes) -> tuple[object, int]:
    if len(body) < 4:
        raise FrameError("the control block is missing")
    size = _U32.unpack_from(body)[0]
    if 4 + size > len(body):
        raise FrameError("the control block is cut short")
    try:
        return msgpack.unpackb(memoryview(body)[4 : 4 + size], use_list=True), 4 + size
    except Exception as error:
        # msgpack raises a handful of unrelated types for malformed input.
        raise FrameError(f"the control block is not msgpack: {error}") from error


def _decode_message(fields: object, body: bytes, offset: int) -> tuple[Message, int]:
    if not isinstance(fields, list) or len(fields) != _FIELDS:
        raise FrameError(f"a message has {_FIELDS} fields")
    type_, to, sender, term, log_term, index, commit, reject, hint, context, force = fields[:11]
    snapshot, raw = fields[11:]
    for number in (type_, to, sender, term, log_term, index, commit, hint, context):
        _check_u64(number)
    if type_ not in _TYPES:
        raise FrameError(f"unknown message type {type_}")
    if type(reject) is not bool or type(force) is not bool or not isinstance(raw, list):
        raise FrameError("a message's field has the wrong type")
    if len(raw) % _ENTRY_FIELDS:
        raise FrameError(f"an entry has {_ENTRY_FIELDS} fields")
    entries = []
    for position in range(0, len(raw), _ENTRY_FIELDS):
        entry, offset = _decode_entry(raw[position : position + _ENTRY_FIELDS], index, body, offset)
        entries.append(entry)
        index += 1
    message = Message(
        _TYPES[type_],
        to,
        sender,
        term,
        log_term,
        fields[5],
        commit,
        tuple(entries),
        reject,
        hint,
        context,
        force,
        _decode_snapshot(snapshot),
    )
    return message, offset


def _encode_snapshot(snapshot: SnapshotMetadata | None) -> list[Any] | None:
    if snapshot is None:
        return None
    return [snapshot.index, snapshot.term, snapshot.configuration.encode()]


def _decode_snapshot(fields: object) -> SnapshotMetadata | None:
    if fields is None:
        return None
    if not isinstance(fields, list) or len(fields) != 3 or not isinstance(fields[2], bytes):
        raise FrameError("a snapshot's metadata has index, term and configuration")
    try:
        configuration = Configuration.decode(fields[2])
    except ValueError as error:
        raise FrameError(str(error)) from error
    return SnapshotMetadata(_check_u64(fields[0]), _check_u64(fields[1]), configuration)


def _decode_entry(
    fields: list[object], previous: int, body: bytes, offset: int
) -> tuple[Entry, int]:
    term, kind, checksum, size = (_check_u64(number) for number in fields)
    end = offset + size
    if kind not in _KINDS:
        raise FrameError(f"unknown entry kind {kind}")
    if end > len(body) or previous >= _U64_MAX:
        raise FrameError("an entry is cut short or has no index")
    return Entry(term, previous + 1, _KINDS[kind], body[offset:end], checksum), end


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
