"""Quorum arithmetic: what a majority, or two majorities at once, have agreed on.

A *joint* configuration (Raft §6) has incoming and outgoing voters; a decision needs a majority of
each. An empty set of voters agrees to everything, so a configuration that is not joint is a joint
one with nobody outgoing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

INDEX_MAX = (1 << 64) - 1
"""What an empty set of voters has committed: no bound."""


class VoteResult(Enum):
    """How an election stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def majority_committed(voters: Iterable[int], match_index: Callable[[int], int]) -> int:
    """Return the highest index that a majority of `voters` holds; INDEX_MAX without voters."""
    held = sorted(map(match_index, voters))
    if not held:
        return INDEX_MAX
    return held[(len(held) - 1) // 2]


def majority_vote(voters: Iterable[int], votes: Mapping[int, bool]) -> VoteResult:
    """Say whether a majority of `voters` granted, or can no longer; strangers' votes are void."""
    total = granted = refused = 0
    for voter in voters:
        total += 1
        vote = votes.get(voter)
        if vote is not None:
            granted += vote
            refused += not vote
    quorum = total // 2 + 1
    if total == 0 or granted >= quorum:
        return VoteResult.WON
    if total - refused >= quorum:
        return VoteResult.PENDING
    return VoteResult.LOST


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who votes and who listens. Invariant: learners are disjoint from both sets of voters."""

    voters: frozenset[int]
    outgoing: frozenset[int] = frozenset()
    """The old voters while a joint change is under way, else empty."""
    learners: frozenset[int] = frozenset()

    @property
    def all_voters(self) -> frozenset[int]:
        """Everyone whose vote counts in either half."""
        return self.voters | self.outgoing

    @property
    def members(self) -> frozenset[int]:
        """Everyone who receives the log."""
        return self.voters | self.outgoing | self.learners

    def committed(self, match_index: Callable[[int], int]) -> int:
        """Return the highest index that both halves hold."""
        incoming = majority_committed(self.voters, match_index)
        if not self.outgoing:
            return incoming
        return min(incoming, majority_committed(self.outgoing, match_index))

    def vote_result(self, votes: Mapping[int, bool]) -> VoteResult:
        """Say how an election stands in which both halves must be won."""
        incoming = majority_vote(self.voters, votes)
        outgoing = majority_vote(self.outgoing, votes)
        if incoming is outgoing:
            return incoming
        if VoteResult.LOST in (incoming, outgoing):
            return VoteResult.LOST
        return VoteResult.PENDING
