"""One Raft node whose messages are written by hand."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import (
    Entry,
    EntryKind,
    HardState,
    Message,
    MessageType,
    SnapshotMetadata,
)
from raftkv.raft.node import RaftNode
from raftkv.raft.ready import PersistWork, ReadState
from raftkv.raft.roles import Role
from raftkv.testing.memory_log import MemoryLog

THREE = Configuration(frozenset({1, 2, 3}))


class Driven:
    """Node 1, of three unless told otherwise, with a disk that syncs when told.

    `sent` are the messages that left; `work` and `snapshot` wait for `sync`.
    """

    def __init__(
        self,
        terms: Sequence[int] = (),
        term: int = 0,
        vote: int = 0,
        configuration: Configuration = THREE,
        applied: int = 0,
        **options: int | bool,
    ) -> None:
        self.log = MemoryLog()
        entries = [Entry(t, i, EntryKind.NORMAL, b"") for i, t in enumerate(terms, 1)]
        self.log.append(entries, HardState(term or max(terms, default=0), vote, 0))
        config = RaftConfig(id=1, **options)  # type: ignore[arg-type]
        self.node = RaftNode(
            config, configuration, self.log, self.log.hard_state(), applied, random.Random(1)
        )
        self.work: PersistWork | None = None
        self.snapshot: SnapshotMetadata | None = None
        self.sent: list[Message] = []
        self.reads: list[ReadState] = []
        self.applied: list[int] = []

    def take(self) -> None:
        """Take what is ready, without syncing."""
        while self.node.has_ready():
            ready = self.node.ready()
            self.sent += ready.messages
            self.reads += ready.read_states
            self.work = ready.persist or self.work
            self.snapshot = ready.snapshot or self.snapshot
            for entry in ready.committed_entries:
                self.applied.append(entry.index)
                if entry.kind is EntryKind.CONF_CHANGE:
                    self.node.apply_configuration(entry)
                self.node.applied(entry.index)

    def sync(self) -> None:
        """Take what is ready and sync until nothing is owed."""
        self.take()
        while self.work is not None:
            if self.snapshot is not None:
                self.log.reset(self.snapshot.index, self.snapshot.term)
                self.snapshot = None
            self.log.append(self.work.entries, self.work.hard_state)
            self.work = None
            self.sent += self.node.persisted()
            self.take()

    def step(self, type_: MessageType, sender: int, term: int, **fields: object) -> None:
        self.node.step(Message(type_, 1, sender, term, **fields))  # type: ignore[arg-type]

    def drain(self, type_: MessageType) -> list[Message]:
        """Return the messages of a type that left since the last call, dropping the others."""
        found = [message for message in self.sent if message.type is type_]
        self.sent.clear()
        return found

    def lead(self) -> None:
        """Win an election with the vote of member 2."""
        self.node.campaign()
        self.sync()
        self.step(MessageType.PRE_VOTE_RESPONSE, 2, self.node.term + 1)
        self.sync()
        self.step(MessageType.VOTE_RESPONSE, 2, self.node.term)
        self.sync()
        assert self.node.role is Role.LEADER

    def picture(self) -> dict[str, Any]:
        """Return everything that the node and its disk hold, to be compared."""
        state = self.node._state
        skipped = ("random", "reads", "config", "log")
        found = {
            name: _picture(getattr(state, name)) for name in state.__slots__ if name not in skipped
        }
        found["log"] = {
            name: _picture(getattr(state.log, name))
            for name in state.log.__slots__
            if name != "_reader"
        }
        return found | {
            "hard state": self.log.hard_state(),
            "stored": self.log.entries(1, self.log.last_index + 1, 1 << 30),
            "applied": list(self.applied),
        }


def _picture(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _picture(one) for key, one in value.items()}
    if isinstance(value, list):
        return list(value)
    if hasattr(value, "__slots__") and not dataclasses.is_dataclass(value):
        return {name: _picture(getattr(value, name)) for name in value.__slots__}
    return value
