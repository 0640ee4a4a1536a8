"""Bugs in the Raft core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from raftkv.raft import election, replication
from raftkv.raft.log import RaftLog
from raftkv.raft.messages import Entry, HardState, Message, MessageType
from raftkv.raft.progress import Progress
from raftkv.raft.read_index import ReadQueue
from raftkv.raft.ready import PersistWork
from raftkv.raft.state import RaftState
from raftkv.testing.sim.disk import SimulatedWriter
from raftkv.testing.sim.planted.patch import Patch


def vote_not_persisted(patch: Patch) -> None:
    """The vote is not written down."""

    def write(self: Any, work: PersistWork) -> None:
        hard_state = work.hard_state
        if hard_state is not None:
            hard_state = HardState(hard_state.term, 0, hard_state.commit)
        honest(self, PersistWork(hard_state, work.entries))

    honest = patch.set(SimulatedWriter, "_write", write)


def vote_for_anyone(patch: Patch) -> None:
    """A vote goes to a candidate whose log is behind."""
    patch.set(RaftLog, "is_up_to_date", lambda self, index, term: True)


def vote_twice(patch: Patch) -> None:
    """A second candidate of the same term gets a vote too."""

    def handle(state: RaftState, message: Message) -> None:
        state.vote = 0
        honest(state, message)

    honest = patch.set(election, "handle_vote_request", handle)


def commit_old_term_by_counting(patch: Patch) -> None:
    """Copies of an entry of an earlier term are counted (Raft Figure 8)."""

    def maybe_commit(state: RaftState) -> bool:
        index = state.configuration.committed(state.match_index)
        if index <= state.log.commit_index:
            return False
        state.commit_to(index)
        return True

    patch.set(replication, "maybe_commit", maybe_commit)


def commit_with_a_minority(patch: Patch) -> None:
    """One copy too few is taken for a quorum."""

    def committed(self: Any, match_index: Callable[[int], int]) -> int:
        held = sorted(map(match_index, self.voters)) or [0]
        return held[min(len(held) // 2 + 1, len(held) - 1)]

    from raftkv.raft.configuration import Configuration

    patch.set(Configuration, "committed", committed)


def acknowledge_before_sync(patch: Patch) -> None:
    """Followers vouch for entries that a crash still loses."""

    def acknowledge(self: RaftState, leader: int, index: int) -> None:
        self.outbox.append(
            Message(MessageType.APPEND_RESPONSE, leader, self.id, self.term, index=index)
        )

    patch.set(RaftState, "acknowledge", acknowledge)


def count_oneself_before_sync(patch: Patch) -> None:
    """The leader counts entries that it has not synced itself."""

    def match_index(self: RaftState, member: int) -> int:
        return self.log.last_index if member == self.id else self.peers[member].match_index

    patch.set(RaftState, "match_index", match_index)


def truncate_on_every_append(patch: Patch) -> None:
    """An APPEND that holds nothing new cuts off what follows, instead of leaving it alone."""

    def merge(self: RaftLog, entries: Sequence[Entry]) -> None:
        honest(self, entries)
        if entries and entries[-1].index < self.last_index:
            cut = max(entries[-1].index, self.commit_index) + 1
            if cut <= self.last_index:
                self._truncate_suffix(cut)

    honest = patch.set(RaftLog, "merge", merge)


def accept_without_matching(patch: Patch) -> None:
    """A follower takes entries without comparing the one before them."""

    def matches(self: RaftLog, index: int, term: int) -> bool:
        return index <= self.last_index or bool(honest(self, index, term))

    honest = patch.set(RaftLog, "matches", matches)


def believe_own_optimism(patch: Patch) -> None:
    """What was sent is taken for what was received."""

    def sent(self: Progress, last_index: int, size_bytes: int, commit: int) -> None:
        honest(self, last_index, size_bytes, commit)
        self.match_index = max(self.match_index, last_index)
        self.next_index = max(self.next_index, self.match_index + 1)

    honest = patch.set(Progress, "sent", sent)


def read_without_asking(patch: Patch) -> None:
    """A leader answers reads without making sure that it still leads: stale after a pause."""
    patch.set(ReadQueue, "_confirmed_round", lambda self, configuration, self_id: self.round)


def read_before_own_commit(patch: Patch) -> None:
    """A new leader answers reads at a commit index that may be old."""
    patch.set(replication, "has_committed_in_term", lambda state: True)


def read_joins_a_running_round(patch: Patch) -> None:
    """A read joins a round whose heartbeats left before it arrived."""

    def add(self: Any, reader: Any) -> None:
        if self._rounds:
            self._rounds[-1][2].append(reader)
        else:
            self._gathered.append(reader)
        self._waiting += 1

    patch.set(ReadQueue, "add", add)
