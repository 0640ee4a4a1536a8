"""What members say to each other, and what they write down.

Ids, terms and indexes are unsigned 64-bit integers; 0 means "none". The objects here are values:
whoever receives one must not change it, because the same object may be in several hands. Those that
each command makes are not frozen only because frozen dataclasses are three times as slow to make.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

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


@dataclass(slots=True, unsafe_hash=True)
class Entry:
    """One entry of the log. `data` is opaque to Raft and never copied by it."""

    term: int
    index: int
    kind: EntryKind
    data: bytes
    checksum: int = UNKNOWN_CHECKSUM
    """`entry_checksum` of the rest, computed once, where the entry is made; wire and disk carry it
    along, so that whoever applies the entry knows that it is what was proposed."""

    def __post_init__(self) -> None:
        if self.checksum == UNKNOWN_CHECKSUM:
            self.checksum = entry_checksum(self.term, self.index, self.kind, self.data)

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


@dataclass(slots=True)
class HardState:
    """What must survive a crash beside the entries (Raft Figure 2, "Persistent state").

    `term` and `vote` are synced before any message that depends on them leaves; `commit` is
    only a head start for recovery and travels with the next sync.
    """

    term: int = 0
    vote: int = 0
    commit: int = 0


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


@dataclass(slots=True)
class Message:
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

    type: MessageType
    to: int
    sender: int
    term: int
    log_term: int = 0
    index: int = 0
    commit: int = 0
    entries: tuple[Entry, ...] = ()
    reject: bool = False
    reject_hint: int = 0
    context: int = 0
    force: bool = False
    snapshot: SnapshotMetadata | None = None
