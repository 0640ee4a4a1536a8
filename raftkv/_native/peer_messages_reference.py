"""The plainest codec of Raft messages on the wire: the oracle of `peer_messages`."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Entry, EntryKind, Message, MessageType, SnapshotMetadata

__all__ = ["decode", "encode"]

COUNT = struct.Struct("<I")
HEAD = struct.Struct("<BBI8Q")
SNAPSHOT = struct.Struct("<QQI")
ENTRY = struct.Struct("<QIIB")
REJECT, FORCE, HAS_SNAPSHOT = 1, 2, 4
NUMBER_MAX = (1 << 62) - 1
"""Of terms and indexes."""


def encode(messages: Sequence[Message]) -> bytes:
    """Return the body."""
    parts = [COUNT.pack(len(messages))]
    for one in messages:
        flags = REJECT * one.reject + FORCE * one.force + HAS_SNAPSHOT * (one.snapshot is not None)
        ids = (one.to, one.sender, one.term, one.log_term, one.index, one.commit)
        parts.append(
            HEAD.pack(one.type, flags, len(one.entries), *ids, one.reject_hint, one.context)
        )
        if one.snapshot is not None:
            configuration = one.snapshot.configuration.encode()
            parts.append(SNAPSHOT.pack(one.snapshot.index, one.snapshot.term, len(configuration)))
            parts.append(configuration)
        for entry in one.entries:
            parts.append(ENTRY.pack(entry.term, entry.checksum, len(entry.data), entry.kind))
            parts.append(entry.data)
    return b"".join(parts)


class _Reader:
    def __init__(self, body: bytes) -> None:
        self.left = body

    def take(self, size: int) -> bytes:
        if size > len(self.left):
            raise ValueError("the body is cut short")
        taken, self.left = self.left[:size], self.left[size:]
        return taken

    def message(self) -> Message:
        type_, flags, count, *ids = HEAD.unpack(self.take(HEAD.size))
        to, sender, term, log_term, index, commit, reject_hint, context = ids
        kind = MessageType(type_)
        if flags & ~(REJECT | FORCE | HAS_SNAPSHOT):
            raise ValueError("unknown flags")
        snapshot = self.snapshot() if flags & HAS_SNAPSHOT else None
        if max(term, log_term, index + count, commit, reject_hint) > NUMBER_MAX:
            raise ValueError("a term or an index is out of range")
        entries = tuple(self.entry(index + 1 + place) for place in range(count))
        return Message(
            kind,
            to,
            sender,
            term,
            log_term,
            index,
            commit,
            entries,
            bool(flags & REJECT),
            reject_hint,
            context,
            bool(flags & FORCE),
            snapshot,
        )

    def snapshot(self) -> SnapshotMetadata:
        index, term, size = SNAPSHOT.unpack(self.take(SNAPSHOT.size))
        if max(index, term) > NUMBER_MAX:
            raise ValueError("a snapshot's term or index is out of range")
        return SnapshotMetadata(index, term, Configuration.decode(self.take(size)))

    def entry(self, index: int) -> Entry:
        term, checksum, size, kind = ENTRY.unpack(self.take(ENTRY.size))
        if term > NUMBER_MAX:
            raise ValueError("an entry's term is out of range")
        return Entry(term, index, EntryKind(kind), self.take(size), checksum)


def decode(body: bytes) -> list[Message]:
    """Return the messages of a body. Raises ValueError."""
    reader = _Reader(body)
    count = COUNT.unpack(reader.take(COUNT.size))[0]
    messages = [reader.message() for _ in range(count)]
    if reader.left:
        raise ValueError("bytes behind the messages")
    return messages
