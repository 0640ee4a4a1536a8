"""What members say to each other, and what they write down.

Ids are unsigned 64-bit integers, terms and indexes are below 2^63; 0 means "none". The objects
here are values: whoever receives one must not change it, because the same object may be in several
hands.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from zlib_ng import zlib_ng

from raftkv.raft.configuration import Configuration
from raftkv.raft.errors import CorruptEntry

ENTRY_OVERHEAD_BYTES = 32
"""Counted beside an entry's data by every bound in bytes, so empty entries are not free."""


UNKNOWN_CHECKSUM = -1
"""Given to a new entry whose checksum is to be computed."""

_INDEX = struct.Struct(">Q")
_TERM_AND_KIND = struct.Struct("<QB")


def entry_checksum(term: int, index: int, kind: int, data: bytes) -> int:
    """Return the crc32 of u64 BE index | u64 LE term | u8 kind | data; the log stores the same."""
    place = zlib_ng.crc32(_TERM_AND_KIND.pack(term, kind), zlib_ng.crc32(_INDEX.pack(index)))
    return zlib_ng.crc32(data, place)


class EntryKind(IntEnum):
    """What the data of an entry is."""

    NORMAL = 0
    """A batch of commands for the state machine."""
    CONF_CHANGE = 1
    """An encoded `ConfigurationChange`; takes effect when applied."""
    EMPTY = 2
    """No data: the first entry of a leader's term (Raft §8)."""


NORMAL = EntryKind.NORMAL
CONF_CHANGE = EntryKind.CONF_CHANGE
"""Names for what is looked at with each entry: an enum's attribute runs Python code (until 3.12),
ten times the cost of a name."""


class Value:
    """Compared and shown by its slots. Not a dataclass, because what is compiled can be none."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__slots__))

    def replaced(self, **changes: object) -> Self:
        """Return the same but for some fields."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return type(self)(**(fields | changes))

    def __repr__(self) -> str:
        fields = (f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({', '.join(fields)})"


class Entry(Value):
    """One entry of the log. `data` is opaque to Raft and never copied by it."""

    __slots__ = ("checksum", "data", "index", "kind", "term")

    def __init__(
        self, term: int, index: int, kind: EntryKind, data: bytes, checksum: int = UNKNOWN_CHECKSUM
    ) -> None:
        self.term = term
        self.index = index
        self.kind = kind
        self.data = data
        self.checksum = checksum
        """`entry_checksum` of the rest, computed once, where the entry is made; wire and disk carry
        it along, so that whoever applies the entry knows that it is what was proposed."""
        if checksum == UNKNOWN_CHECKSUM:
            self.checksum = entry_checksum(term, index, kind, data)

    @property
    def size_bytes(self) -> int:
        """What this entry counts against a bound in bytes."""
        return len(self.data) + ENTRY_OVERHEAD_BYTES

    def is_intact(self) -> bool:
        """Say whether the entry matches its checksum; costs a pass over the data."""
        return entry_checksum(self.term, self.index, self.kind, self.data) == self.checksum

    def verify(self) -> None:
        """Raise CorruptEntry unless the entry matches its checksum."""
        if not self.is_intact():
            raise CorruptEntry(self.index)


def size_of(entries: Sequence[Entry]) -> int:
    """Return what entries count against a bound in bytes."""
    size = 0
    for entry in entries:
        size += len(entry.data) + ENTRY_OVERHEAD_BYTES
    return size


def are_intact(entries: Sequence[Entry]) -> bool:
    """Say whether each entry matches its checksum; costs a pass over the data."""
    for entry in entries:  # noqa: SIM110 - a generator could not be compiled here
        if not entry.is_intact():
            return False
    return True


class HardState(Value):
    """What must survive a crash beside the entries (Raft Figure 2, "Persistent state").

    `term` and `vote` are synced before any message that depends on them leaves; `commit` is
    only a head start for recovery and travels with the next sync.
    """

    __slots__ = ("commit", "term", "vote")

    def __init__(self, term: int = 0, vote: int = 0, commit: int = 0) -> None:
        self.term = term
        self.vote = vote
        self.commit = commit


@dataclass(frozen=True, slots=True)
class SnapshotMetadata:
    """What Raft must know of a snapshot: the state after entry `index`, which is of `term`."""

    index: int
    term: int
    configuration: Configuration
    """The membership after entry `index`."""


class MessageType(IntEnum):
    """The kinds of message; the values are on the wire and never change."""

    APPEND = 1
    APPEND_RESPONSE = 2
    HEARTBEAT = 3
    HEARTBEAT_RESPONSE = 4
    VOTE = 5
    VOTE_RESPONSE = 6
    PRE_VOTE = 7
    PRE_VOTE_RESPONSE = 8
    TIMEOUT_NOW = 9
    TRANSFER_LEADER = 10
    READ_INDEX = 11
    READ_INDEX_RESPONSE = 12
    SNAPSHOT = 13


APPEND = MessageType.APPEND
APPEND_RESPONSE = MessageType.APPEND_RESPONSE
HEARTBEAT = MessageType.HEARTBEAT
HEARTBEAT_RESPONSE = MessageType.HEARTBEAT_RESPONSE
"""The types that nearly all messages are of; see `NORMAL`."""


class Message(Value):
    """One message. The meaning of a field depends on the type; unused ones are 0.

    | type                | fields                                                             |
    |---------------------|--------------------------------------------------------------------|
    | APPEND              | index, log_term: the entry before `entries`; commit; context: not  |
    |                     | 0 where only a refusal is to be answered                           |
    | APPEND_RESPONSE     | index: last index held durably; or reject, index: the refused      |
    |                     | one, reject_hint and log_term: where the sender may agree          |
    | HEARTBEAT           | commit: never above what the receiver holds; context: read round   |
    | HEARTBEAT_RESPONSE  | context: echoed                                                    |
    | VOTE, PRE_VOTE      | index, log_term: the candidate's last entry; force: ignore leases  |
    | ..._RESPONSE        | reject; commit, log_term: an entry known to be committed           |
    | TRANSFER_LEADER     | context: the id of the member that shall lead; term 0              |
    | READ_INDEX          | context: chosen by the reader; term 0                              |
    | READ_INDEX_RESPONSE | context; index: what must be applied before reading                |
    | SNAPSHOT            | snapshot: what the state, streamed beside this, is of              |
    """

    __slots__ = (
        "commit",
        "context",
        "entries",
        "force",
        "index",
        "log_term",
        "reject",
        "reject_hint",
        "sender",
        "snapshot",
        "term",
        "to",
        "type",
    )

    def __init__(
        self,
        type: MessageType,
        to: int,
        sender: int,
        term: int,
        log_term: int = 0,
        index: int = 0,
        commit: int = 0,
        entries: tuple[Entry, ...] = (),
        reject: bool = False,
        reject_hint: int = 0,
        context: int = 0,
        force: bool = False,
        snapshot: SnapshotMetadata | None = None,
    ) -> None:
        self.type = type
        self.to = to
        self.sender = sender
        self.term = term
        self.log_term = log_term
        self.index = index
        self.commit = commit
        self.entries = entries
        self.reject = reject
        self.reject_hint = reject_hint
        self.context = context
        self.force = force
        self.snapshot = snapshot
