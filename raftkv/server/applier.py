"""Committed entries on their way into the state, and their clients' answers on the way out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from raftkv._native.command_batch import answer, read_header
from raftkv.errors import ERRORS
from raftkv.raft.messages import CONF_CHANGE, NORMAL, Entry
from raftkv.raft.roles import LEADER
from raftkv.server.command import CommandKind
from raftkv.server.peer_links import REMOVAL_WAIT_S

if TYPE_CHECKING:
    from raftkv.server.member import Member

__all__ = ["Applier"]

log = logging.getLogger(__name__)


class Applier:
    """Applies what is committed to all of one member's state, in order. Used on the loop only."""

    def __init__(
        self,
        member: Member,
        loop: asyncio.AbstractEventLoop,
        on_answered: Callable[[], object],
    ) -> None:
        """`on_answered` is called as soon as nobody waits any more whom this member can answer."""
        self._member = member
        self._loop = loop
        self._on_answered = on_answered
        self._term = 0
        """Of the last entry that was applied in this life."""

    def apply(self, entries: Sequence[Entry]) -> None:
        """Apply entries in order, answer the clients that wait here. Raises what the disk does."""
        member, node, store = self._member, self._member.node, self._member.store
        began = self._loop.time()
        for entry in entries:
            if entry.term != self._term:
                self._term = entry.term
                member.proposals.settle(entry.term)
                member.changes.settle(entry.term)
            if entry.kind is NORMAL:
                if self._apply_batch(entry) and not member.proposals.pending_count:
                    answered = self._loop.time()
                    self._on_answered()  # all else can be done after the answer
                    began += self._loop.time() - answered
                continue
            if entry.kind is CONF_CHANGE:
                self._apply_change(entry)
            store.apply_empty(entry.index, entry.term)
        leases = member.leases
        leases.take_changes(store.take_lease_changes())
        store.maybe_flush()
        node.applied(entries[-1].index)
        size_bytes = sum(one.size_bytes for one in entries)
        member.housekeeping.applied(entries[-1].index, size_bytes, self._loop.time() - began)
        if not leases.lessor.is_primary and node.role is LEADER and self._term == node.term:
            leases.lead(member.config.election_timeout_s)

    def installed(self, term: int) -> None:
        """Take note that a snapshot, whose last entry is of this term, is the state now."""
        self._term = term

    def _apply_batch(self, entry: Entry) -> bool:
        """Apply a batch; returns whether clients that wait here were answered."""
        member = self._member
        origin, batch_id, _, kind = read_header(entry.data)
        is_ours = origin == member.id
        if member.auth.stamp is not None or kind == CommandKind.AUTH_STAMP:
            kind, refusal = member.auth.admit(entry.data)
            if refusal is not None:
                if is_ours:
                    member.proposals.refuse(batch_id, refusal)
                member.store.apply_empty(entry.index, entry.term)
                return is_ours
        batch = member.proposals.take(batch_id) if is_ours else None
        outcome: bytes | int | None = None
        if kind == CommandKind.COMPACTION:
            member.hub.publish()  # synced watchers must see what is compacted now
        elif kind >= CommandKind.MEMBER_RECORD:
            outcome = member.cluster.apply_command(kind, entry.data)
        results = member.store.apply(entry.index, entry.term, entry.data, batch is not None)
        if batch is None or results is None:
            return False
        if outcome is not None:
            results[-1] = outcome
        answer(batch.waiters, results, ERRORS)
        return True

    def _apply_change(self, entry: Entry) -> None:
        """Let a change of membership take effect; a member that it removes stops soon after."""
        member = self._member
        member.cluster.apply_change(entry, member.node.apply_configuration(entry))
        member.changes.applied(entry)
        if member.cluster.was_removed:
            log.warning("this member was removed from the cluster")
            self._loop.call_later(REMOVAL_WAIT_S, member.learn_of_removal)
