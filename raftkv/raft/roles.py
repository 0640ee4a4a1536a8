"""The roles of a member and which may follow which (Raft Figure 4, with pre-vote)."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """What a member is in its present term."""

    FOLLOWER = 0
    PRE_CANDIDATE = 1
    """Asks whether an election could be won; its term and vote are unchanged."""
    CANDIDATE = 2
    LEADER = 3


FOLLOWER = Role.FOLLOWER
LEADER = Role.LEADER
"""The roles that each message is looked at for: a name costs less than an enum's attribute."""

TRANSITIONS: dict[Role, frozenset[Role]] = {
    Role.FOLLOWER: frozenset({Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE}),
    Role.PRE_CANDIDATE: frozenset({Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE}),
    Role.CANDIDATE: frozenset({Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE, Role.LEADER}),
    Role.LEADER: frozenset({Role.FOLLOWER}),
}
"""Role -> the roles that may follow it. A leader never campaigns; it must step down first."""
