"""What a member is made of: opened by whoever starts it, real or simulated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from raftkv.peer.transport import PeerTransport
from raftkv.raft.node import RaftNode
from raftkv.raft.ready import PersistWork
from raftkv.server.housekeeping import TrimmableLog
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.store import Store

__all__ = ["MemberParts", "MemberRemoved", "Writer"]


class MemberRemoved(Exception):
    """This member was removed from its cluster: there is nothing more for it to do."""


class Writer(TrimmableLog, Protocol):
    """What the member needs of the log writer."""

    def is_quick(self, work: PersistWork) -> bool: ...
    def write(self, work: PersistWork) -> None: ...
    def begin(self, work: PersistWork) -> None: ...
    def end(self) -> None: ...
    def submit(self, work: PersistWork, callback: Callable[[], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class MemberParts:
    """What a member is made of; whoever opened them closes them after `Member.stop`."""

    node: RaftNode
    store: Store
    writer: Writer
    transport: PeerTransport
    trimmer: LogTrimmer
    life: int
    """Above every batch id of this member's earlier lives: the time, in nanoseconds."""
    read_seed: int
    """Differs between lives (62 random bits), so that no answer of an earlier one is taken."""
    on_fatal: Callable[[Exception], None]
    """Called once when the member cannot go on; it has then stopped serving."""
