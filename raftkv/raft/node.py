"""The Raft node: one member's half of the algorithm, driven from outside."""

from __future__ import annotations

from raftkv.raft.config import RaftConfig
from raftkv.raft.log_reader import LogReader, RandomSource
from raftkv.raft.messages import EntryKind, HardState, Message
from raftkv.raft.ready import Ready
from raftkv.raft.roles import Role


class RaftNode:
    """Skeleton of the interface."""

    id: int
    term: int
    leader_id: int
    role: Role
    commit_index: int
    applied_index: int
    last_index: int

    def __init__(
        self,
        config: RaftConfig,
        log: LogReader,
        hard_state: HardState,
        applied_index: int,
        random: RandomSource,
    ) -> None:
        raise NotImplementedError

    def tick(self) -> None: ...

    def step(self, message: Message) -> None: ...

    def propose(self, data: bytes, kind: EntryKind = EntryKind.NORMAL) -> int:
        raise NotImplementedError

    def read_index(self, context: int) -> None: ...

    def campaign(self) -> None: ...

    def transfer_leader(self, member_id: int) -> None: ...

    def report_unreachable(self, member_id: int) -> None: ...

    def has_ready(self) -> bool:
        raise NotImplementedError

    def ready(self) -> Ready:
        raise NotImplementedError

    def persisted(self) -> list[Message]:
        raise NotImplementedError

    def applied(self, index: int) -> None: ...
