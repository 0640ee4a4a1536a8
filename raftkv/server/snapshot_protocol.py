"""How a snapshot travels: requests from the sender to the receiver, one after the other.

`BEGIN u64 index` is answered with what an interrupted transfer left: `u32 next chunk, digest`.
`CHUNK bytes` carries one chunk of `SnapshotReader`; its answer means that it is synced.
`INSTALL` ends the transfer: `u64 leader's term, u64 index, u64 term, configuration`; it is
answered when the receiver's state is the snapshot's.
"""

import struct

from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Message, MessageType, SnapshotMetadata

__all__ = [
    "BEGIN",
    "CHUNK",
    "INSTALL",
    "SnapshotProtocolError",
    "decode_install",
    "decode_place",
    "encode_install",
    "encode_place",
]

BEGIN, CHUNK, INSTALL = "snapshot-begin", "snapshot-chunk", "snapshot-install"

_INSTALL = struct.Struct("<QQQ")
_PLACE = struct.Struct("<I32s")


class SnapshotProtocolError(ValueError):
    """A request or answer of a transfer is malformed, or out of its turn."""


def encode_place(next_chunk: int, digest: bytes) -> bytes:
    """Say which chunk the receiver lacks next, and what all before it were."""
    return _PLACE.pack(next_chunk, digest)


def decode_place(data: bytes) -> tuple[int, bytes]:
    """Read what `encode_place` made. Raises SnapshotProtocolError."""
    if len(data) != _PLACE.size:
        raise SnapshotProtocolError("a place in a snapshot has 36 bytes")
    next_chunk, digest = _PLACE.unpack(data)
    return next_chunk, digest


def encode_install(message: Message, metadata: SnapshotMetadata) -> bytes:
    """Say what was streamed, for the leader's SNAPSHOT message that asked for it."""
    head = _INSTALL.pack(message.term, metadata.index, metadata.term)
    return head + metadata.configuration.encode()


def decode_install(sender: int, receiver: int, data: bytes) -> Message:
    """Return the SNAPSHOT message to step. Raises SnapshotProtocolError."""
    if len(data) < _INSTALL.size:
        raise SnapshotProtocolError("the end of a snapshot is cut short")
    term, index, entry_term = _INSTALL.unpack_from(data)
    try:
        configuration = Configuration.decode(data[_INSTALL.size :])
    except ValueError as error:
        raise SnapshotProtocolError(str(error)) from error
    metadata = SnapshotMetadata(index, entry_term, configuration)
    return Message(MessageType.SNAPSHOT, receiver, sender, term, snapshot=metadata)
