"""Decide to campaign before the election timeout: at the start, and when the leader is gone.

Pre-vote makes an early campaign harmless where somebody leads. To avoid two at once, the members
that reach each other take turns in the order of their ids, each once; then the timeout decides.
"""

from collections.abc import Collection

__all__ = ["EarlyElection"]

TURN_TICKS = 2
"""Ticks between two members' turns: an election should be over by then."""


class EarlyElection:
    """The turns of one member. No clock: ticks are told."""

    def __init__(self, member_id: int, members: int) -> None:
        self._id = member_id
        self._quorum = members // 2 + 1
        self._leaderless_ticks = 0

    def tick(self, leader_id: int, connected: Collection[int]) -> bool:
        """Count a tick; returns whether to campaign now. `connected` is without this member."""
        if leader_id or len(connected) + 1 < self._quorum:
            self._leaderless_ticks = 0
            return False
        self._leaderless_ticks += 1
        rank = sum(other < self._id for other in connected)
        return self._leaderless_ticks == 1 + TURN_TICKS * rank
