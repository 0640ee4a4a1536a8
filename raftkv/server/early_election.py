"""Decide to campaign before the election timeout: at the start, and when the leader is gone.

Pre-vote makes an early campaign harmless where somebody leads. To avoid two at once, the voters
that reach each other take turns in the order of their ids, each once; then the timeout decides.
"""

from collections.abc import Collection

__all__ = ["EarlyElection"]

TURN_TICKS = 2
"""Ticks between two members' turns: an election should be over by then."""


class EarlyElection:
    """The turns of one member. No clock: ticks are told."""

    def __init__(self, member_id: int) -> None:
        self._id = member_id
        self._leaderless_ticks = 0

    def tick(self, leader_id: int, connected: Collection[int], voters: Collection[int]) -> bool:
        """Count a tick; returns whether to campaign now. `connected` is without this member."""
        reached = [one for one in connected if one in voters]
        if leader_id or self._id not in voters or len(reached) + 1 < len(voters) // 2 + 1:
            self._leaderless_ticks = 0
            return False
        self._leaderless_ticks += 1
        rank = sum(other < self._id for other in reached)
        return self._leaderless_ticks == 1 + TURN_TICKS * rank
