"""What a caller of the Raft core may have to handle."""

from __future__ import annotations


class RaftError(Exception):
    """The base of everything that the core raises on purpose."""


class NotLeader(RaftError):
    """Only the leader can do this. `leader_id` is who leads as far as we know, 0 if nobody."""

    def __init__(self, leader_id: int) -> None:
        super().__init__(
            f"not the leader; the leader is {leader_id:x}" if leader_id else "no leader"
        )
        self.leader_id = leader_id


class NoLeader(RaftError):
    """Nobody leads as far as this member knows; try again after the next `soft_state`."""

    def __init__(self) -> None:
        super().__init__("no leader")


class ProposalDropped(RaftError):
    """The leader refused a proposal; it is certainly not in the log. `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"proposal dropped: {reason}")
        self.reason = reason


class InvalidConfigurationChange(ProposalDropped):
    """A change of membership does not fit the present configuration. Trying again is of no use."""


class ConfigurationChangePending(ProposalDropped):
    """An earlier change of membership is not applied yet; try again after it."""

    def __init__(self, index: int) -> None:
        super().__init__(f"a configuration change up to entry {index} is not applied yet")
        self.index = index


class CorruptEntry(RaftError):
    """An entry does not match its checksum: memory or disk changed it. The member must stop."""

    def __init__(self, index: int) -> None:
        super().__init__(f"entry {index} does not match its checksum")
        self.index = index


class TooManyReads(RaftError):
    """More reads wait for a confirmation than `reads_waiting_max`."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} reads wait for the leader's confirmation")
        self.limit = limit


class UnknownMember(RaftError):
    """An id that is no voter of the configuration was named as the next leader."""

    def __init__(self, member_id: int) -> None:
        super().__init__(f"member {member_id:x} is not a voter of this cluster")
        self.member_id = member_id


class LogCompacted(RaftError):
    """An index at or below the log's base was asked for; the entry is gone."""

    def __init__(self, index: int, first_index: int) -> None:
        super().__init__(f"entry {index} was dropped; the log begins at {first_index}")
        self.index = index
        self.first_index = first_index


class LogUnavailable(RaftError):
    """An index above the last one was asked for."""

    def __init__(self, index: int, last_index: int) -> None:
        super().__init__(f"entry {index} does not exist; the log ends at {last_index}")
        self.index = index
        self.last_index = last_index
