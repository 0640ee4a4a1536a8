"""A member tells the cluster its name and where clients find it, until that is in the log."""

from collections.abc import Callable

from raftkv._native.waiter import Waiter
from raftkv.config import Config
from raftkv.server.cluster_state import ClusterState
from raftkv.server.command import CommandKind, NobodyWaits
from raftkv.server.membership import MemberRecord

__all__ = ["Publication"]

INTERVAL_S = 1.0
"""How often a member that is not yet published proposes its record again."""


class Publication:
    """Proposes one member's record. Used from the loop only."""

    def __init__(
        self,
        member_id: int,
        config: Config,
        cluster: ClusterState,
        propose: Callable[[int, bytes, Waiter], None],
    ) -> None:
        self._member_id = member_id
        self._config = config
        self._cluster = cluster
        self._propose = propose
        self._next = 0.0

    def tick(self, now: float, leader_id: int) -> None:
        """Propose the record if it is time to."""
        if now >= self._next:
            self.propose(now, leader_id)

    def propose(self, now: float, leader_id: int) -> None:
        """Propose the record, if it is not known yet and somebody leads."""
        membership = self._cluster.membership
        if self._cluster.is_published or not leader_id or self._member_id not in membership:
            return
        self._next = now + INTERVAL_S
        record = MemberRecord(
            self._member_id,
            self._config.name,
            membership[self._member_id].peer_urls,
            self._config.advertise_client_urls,
        )
        self._propose(CommandKind.MEMBER_RECORD, record.encode(), NobodyWaits())
