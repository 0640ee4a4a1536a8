"""Quorum arithmetic: what a majority has agreed on.

A *joint* configuration (Raft §6, `configuration`) has incoming and outgoing voters; a decision
needs a majority of each. An empty set of voters agrees to everything, so a configuration that is
not joint is a joint one with nobody outgoing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
