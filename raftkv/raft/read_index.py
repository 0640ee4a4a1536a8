"""Linearizable reads without a log entry (Raft dissertation §6.4).

A leader may answer a read at its commit index once it knows that it still led *after* the read
arrived. All reads that wait when a round begins share it: one heartbeat to everyone carries the
round's number, the answers carry it back, and a round is confirmed, with all before it, when a
quorum has answered that number or a higher one. A leader that has committed nothing in its own term
does not know the commit index yet, so its reads wait.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from raftkv.raft.configuration import Configuration
from raftkv.raft.errors import TooManyReads
from raftkv.raft.quorum import INDEX_MAX


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asked: a member, and the number by which it knows its read."""

    member: int
    context: int


class ReadQueue:
    """Reads at a leader, in order of arrival; made anew with every term."""

    __slots__ = ("_answered", "_gathered", "_rounds", "_waiting", "_waiting_max", "round")

    def __init__(self, waiting_max: int) -> None:
        self._waiting_max = waiting_max
        self._waiting = 0
        self._gathered: list[Reader] = []
        self._rounds: deque[tuple[int, int, list[Reader]]] = deque()
        self._answered: dict[int, int] = {}
        self.round = 0
        """Number of the latest round, which every heartbeat carries; 0 before the first."""

    def add(self, reader: Reader) -> None:
        """Let a read wait for the next round. Raises TooManyReads."""
        if self.is_full():
            raise TooManyReads(self._waiting_max)
        self._waiting += 1
        self._gathered.append(reader)

    def is_full(self) -> bool:
        """Say whether no more reads may wait."""
        return self._waiting >= self._waiting_max

    def has_gathered(self) -> bool:
        """Say whether reads wait for a round to begin."""
        return bool(self._gathered)

    def has_rounds(self) -> bool:
        """Say whether a round is under way that too few have answered, or nobody has taken."""
        return bool(self._rounds)

    def begin_round(self, commit_index: int) -> None:
        """Give all gathered reads a round at `commit_index`; the caller sends the heartbeats."""
        assert self._gathered
        self.round += 1
        self._rounds.append((self.round, commit_index, self._gathered))
        self._gathered = []

    def answered(self, member: int, round_number: int) -> None:
        """Note that a member still followed us when it saw this round's heartbeat."""
        if round_number > self._answered.get(member, 0):
            self._answered[member] = round_number

    def _confirmed_round(self, configuration: Configuration, self_id: int) -> int:
        return configuration.committed(
            lambda member: INDEX_MAX if member == self_id else self._answered.get(member, 0)
        )

    def has_confirmed(self, configuration: Configuration, self_id: int) -> bool:
        """Say whether `take_confirmed` would return anything."""
        rounds = self._rounds
        return bool(rounds) and rounds[0][0] <= self._confirmed_round(configuration, self_id)

    def take_confirmed(
        self, configuration: Configuration, self_id: int
    ) -> list[tuple[int, Reader]]:
        """Return reads whose round a quorum has answered, each with its index, oldest first."""
        if not self._rounds:
            return []
        confirmed = self._confirmed_round(configuration, self_id)
        found: list[tuple[int, Reader]] = []
        while self._rounds and self._rounds[0][0] <= confirmed:
            _, index, readers = self._rounds.popleft()
            found += [(index, reader) for reader in readers]
        self._waiting -= len(found)
        return found
