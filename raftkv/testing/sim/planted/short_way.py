"""Bugs in the short way that a lone APPEND or its answer takes, and in what is done on the loop."""

from __future__ import annotations

from typing import Any

from raftkv.raft.messages import Message
from raftkv.raft.node import RaftNode
from raftkv.server.member import Member
from raftkv.testing.sim.planted.patch import Patch


def answer_before_write(patch: Patch) -> None:
    """The answer to a lone APPEND leaves just before its entries are synced."""

    def take_short(self: Any, message: Message) -> bool | None:
        found = self.node.next_append(message)
        if found is None or not self._writer.is_quick(found[0]):
            return None if found is not None else honest(self, message)
        self.transport.send(found[1:])
        self._writer.write(found[0])
        self.node.appended(message)
        self._notice.stepped(message)
        return False

    honest = patch.set(Member, "_take_short", take_short)


def count_what_is_begun(patch: Patch) -> None:
    """A leader counts its own entries when their write has begun, and nobody waits for its end."""

    def end_write(self: Any) -> None:
        self._writer.submit(self._writer._begun, lambda: None)
        self.transport.send(self.node.persisted())

    patch.set(Member, "_end_write", end_write)


def go_on_without_matching(patch: Patch) -> None:
    """A lone APPEND is taken whatever the term of the entry before it."""

    def next_append(self: Any, message: Message) -> Any:
        return honest(self, message.replaced(log_term=self._state.log.last_term))

    honest = patch.set(RaftNode, "next_append", next_append)
