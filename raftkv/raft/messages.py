"""What members say to each other, and what they write down.

Ids, terms and indexes are unsigned 64-bit integers; 0 means "none". The objects here are values:
whoever receives one must not change it, because the same object may be in several hands.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

ENTRY_OVERHEAD_BYTES = 32
"""Counted beside an entry's data by every bound in bytes, so empty entries are not free."""


class EntryKind(IntEnum):
    """What the data of an entry is."""

    NORMAL = 0
    """A batch of commands for the state machine."""
    CONF_CHANGE = 1
    """A change of membership; takes effect when applied."""
    EMPTY = 2
    """No data: the first entry of a leader's term (Raft §8)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log. `data` is opaque to Raft and never copied by it."""

    term: int
    index: int
    kind: EntryKind
    data: bytes

    @property
    def size_bytes(self) -> int:
        """What this entry counts against a bound in bytes."""
        return len(self.data) + ENTRY_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class HardState:
    """What must survive a crash beside the entries (Raft Figure 2, "Persistent state").

    `term` and `vote` are synced before any message that depends on them leaves; `commit` is
    only a head start for recovery and travels with the next sync.
    """

    term: int = 0
    vote: int = 0
    commit: int = 0


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
    | APPEND              | index, log_term: the entry before `entries`; commit                |
    | APPEND_RESPONSE     | index: last index held durably; or reject, index: the refused      |
    |                     | one, reject_hint and log_term: where the sender may agree          |
    | HEARTBEAT           | commit: never above what the receiver holds; context: read round   |
    | HEARTBEAT_RESPONSE  | context: echoed                                                    |
    | VOTE, PRE_VOTE      | index, log_term: the candidate's last entry; force: ignore leases  |
    | ..._RESPONSE        | reject                                                             |
    | TRANSFER_LEADER     | context: the id of the member that shall lead; term 0              |
    | READ_INDEX          | context: chosen by the reader; term 0                              |
    | READ_INDEX_RESPONSE | context; index: what must be applied before reading                |
    | SNAPSHOT            | index, log_term: the last entry that the snapshot covers           |

    Not frozen only because frozen dataclasses are three times as slow to make.
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
