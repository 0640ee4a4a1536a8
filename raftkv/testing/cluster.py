"""A cluster of Raft nodes in one thread: simulated clock, network and disk, one seed, one run.

Time is a number of milliseconds that jumps from event to event. After every event the safety
properties are checked. The disk loses what was not synced; a sync under way at a crash is there or
not, never half.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.errors import NoLeader, NotLeader, ProposalDropped
from raftkv.raft.messages import Entry, Message
from raftkv.raft.node import RaftNode
from raftkv.raft.ready import PersistWork
from raftkv.raft.roles import Role
from raftkv.testing.memory_log import MemoryLog
from raftkv.testing.safety import SafetyChecker, log_of

TICK_MS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How bad the world is. Probabilities are of 1; times are in simulated milliseconds."""

    loss: float = 0.05
    duplicate: float = 0.05
    delay_ms_max: int = 150
    sync_ms_max: int = 60
    crash_every_ms: int = 4000
    """Mean time between crashes of some member; 0: never."""
    down_ms_max: int = 4000
    partition_every_ms: int = 3000
    """Mean time between partitions (of one link, one direction, or one side); 0: never."""
    partition_ms_max: int = 4000
    propose_every_ms: int = 40
    read_every_ms: int = 100
    transfer_every_ms: int = 5000
    flush_every_ms: int = 700
    """Mean time between flushes of a state machine; what is applied after one is applied again."""
    pre_vote: bool = True
    election_timeout_ticks: int = 10
    entries_per_append_max: int = 8


CALM = Faults(
    loss=0,
    duplicate=0,
    crash_every_ms=0,
    partition_every_ms=0,
    transfer_every_ms=0,
)
"""A world without faults, but with delays."""

QUIET = replace(CALM, propose_every_ms=0, read_every_ms=0)
"""CALM, and nobody asks for anything."""

HARSH = Faults(
    loss=0.1,
    sync_ms_max=400,
    crash_every_ms=500,
    down_ms_max=300,
    partition_every_ms=1500,
    partition_ms_max=1500,
    pre_vote=False,
)
"""Leaders come and go too fast for much work, and syncs are slow."""

COLLIDING = replace(
    HARSH, sync_ms_max=60, election_timeout_ticks=3, crash_every_ms=300, down_ms_max=100
)
"""Members are back before an election ends, and elections collide."""


@dataclass(slots=True)
class Member:
    """One member: what survives a crash, and what runs."""

    id: int
    log: MemoryLog = field(default_factory=MemoryLog)
    node: RaftNode | None = None
    """None while it is down."""
    life: int = 0
    """Counts restarts, so that syncs of an earlier life end nowhere."""
    syncing: PersistWork | None = None
    applied: list[Entry] = field(default_factory=list)
    flushed: int = 0
    """How many of `applied` survive a crash."""


class SimulatedCluster:
    """Run with `run_for`, then look at `members` and `checker`; any violation raises."""

    def __init__(self, seed: int, members: int = 3, faults: Faults | None = None) -> None:
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.checker = SafetyChecker()
        self.now_ms = 0
        self.events = 0
        self._trace = hashlib.sha256()
        self._heap: list[tuple[int, int, str, Callable[[], None]]] = []
        self._sequence = 0
        self._blocked: set[tuple[int, int]] = set()
        self._asked: dict[tuple[int, int], int] = {}
        self._contexts = 0
        self.proposed = 0
        self.reads_done = 0
        self.members = {i: Member(i) for i in range(1, members + 1)}
        for member in self.members.values():
            self._start(member)
        self._every("propose", self.faults.propose_every_ms, self._propose_anywhere)
        self._every("read", self.faults.read_every_ms, self._read_anywhere)
        self._every("crash", self.faults.crash_every_ms, self._crash_someone)
        self._every("partition", self.faults.partition_every_ms, self._partition)
        self._every("transfer", self.faults.transfer_every_ms, self._transfer)
        self._every("flush", self.faults.flush_every_ms, self._flush_someone)

    # --- the caller's verbs -------------------------------------------------------------------

    def run_for(self, ms: int) -> None:
        """Let so much time pass. Raises SafetyViolation, or what the nodes raise."""
        self.run_until(lambda: False, ms)

    def run_until(self, condition: Callable[[], bool], ms: int) -> bool:
        """Let time pass until a condition holds; False when it did not within `ms`."""
        end = self.now_ms + ms
        while not condition():
            if not self._heap or self._heap[0][0] > end:
                self.now_ms = end
                return False
            self.now_ms, _, name, action = heapq.heappop(self._heap)
            self.events += 1
            self._trace.update(f"{self.now_ms} {name}\n".encode())
            action()
        return True

    def calm(self) -> None:
        """End all faults and start who is down; what is under way stays as it is."""
        self.faults = CALM
        self._blocked.clear()
        for member in self.members.values():
            if member.node is None:
                self._start(member)

    def trace_hash(self) -> str:
        """Return a hash over everything that happened; equal runs have equal ones."""
        return self._trace.hexdigest()

    def leader(self) -> RaftNode | None:
        """Return the leader of the highest term among those that run, if any."""
        nodes = [m.node for m in self.members.values() if m.node and m.node.role is Role.LEADER]
        return max(nodes, key=lambda node: node.term, default=None)

    def is_level(self) -> bool:
        """Say whether there is a leader and all members applied all that it holds."""
        leader = self.leader()
        return leader is not None and all(
            m.node is not None and len(m.applied) == leader.last_index
            for m in self.members.values()
        )

    def crash(self, member: Member) -> None:
        """Lose what is not synced; a sync under way may or may not have made it."""
        if member.syncing is not None and self.random.random() < 0.5:
            member.log.append(member.syncing.entries, member.syncing.hard_state)
        member.syncing = None
        member.node = None
        member.life += 1
        del member.applied[member.flushed :]

    # --- one member ---------------------------------------------------------------------------

    def _start(self, member: Member) -> None:
        config = RaftConfig(
            id=member.id,
            pre_vote=self.faults.pre_vote,
            election_timeout_ticks=self.faults.election_timeout_ticks,
            entries_per_append_max=self.faults.entries_per_append_max,
            inflight_appends_max=8,
            append_bytes_max=512,
            committed_bytes_max=512,
            cache_bytes_max=4096,
        )
        member.node = RaftNode(
            config,
            Configuration(frozenset(self.members)),
            member.log,
            member.log.hard_state(),
            len(member.applied),
            self.random,
        )
        self.checker.restarted(member.node)
        self._tick_later(member, member.life)

    def _tick_later(self, member: Member, life: int) -> None:
        jitter = self.random.randrange(TICK_MS // 5)
        self._later(TICK_MS - 10 + jitter, f"tick {member.id}", lambda: self._tick(member, life))

    def _tick(self, member: Member, life: int) -> None:
        if member.life == life and member.node is not None:
            member.node.tick()
            self._settle(member)
            self._tick_later(member, life)

    def _settle(self, member: Member) -> None:
        """Do what a member owes, then check."""
        node = member.node
        assert node is not None
        while node.has_ready():
            ready = node.ready()
            if ready.persist is not None:
                self._begin_sync(member, ready.persist)
            self._send(ready.messages)
            for entry in ready.committed_entries:
                self.checker.applied(member.id, entry, len(member.applied))
                member.applied.append(entry)
            if ready.committed_entries:
                node.applied(ready.committed_entries[-1].index)
            for read in ready.read_states:
                self.reads_done += 1
                self.checker.read(
                    member.id, read.index, self._asked.pop((member.id, read.context), 0)
                )
        self.checker.observe(node)

    def _begin_sync(self, member: Member, work: PersistWork) -> None:
        assert member.syncing is None
        member.syncing = work
        life = member.life
        delay = self.random.randrange(self.faults.sync_ms_max + 1)
        self._later(delay, f"sync {member.id}", lambda: self._synced(member, life))

    def _synced(self, member: Member, life: int) -> None:
        if member.life != life or member.node is None or member.syncing is None:
            return
        member.log.append(member.syncing.entries, member.syncing.hard_state)
        member.syncing = None
        self._send(tuple(member.node.persisted()))
        self._settle(member)

    # --- the network --------------------------------------------------------------------------

    def _send(self, messages: tuple[Message, ...]) -> None:
        for message in messages:
            copies = 1 + (self.random.random() < self.faults.duplicate)
            for _ in range(copies):
                if self.random.random() >= self.faults.loss:
                    self._transmit(message)

    def _transmit(self, message: Message) -> None:
        delay = 1 + self.random.randrange(self.faults.delay_ms_max)
        name = (
            f"{message.sender}->{message.to} {message.type.name} {message.term} {message.index} "
            f"{len(message.entries)} {message.reject}"
        )
        self._later(delay, name, lambda: self._deliver(message))

    def _deliver(self, message: Message) -> None:
        member = self.members[message.to]
        if member.node is None or (message.sender, message.to) in self._blocked:
            return
        member.node.step(message)
        self._settle(member)

    # --- what happens to the cluster ----------------------------------------------------------

    def _later(self, delay_ms: int, name: str, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._sequence, name, action))

    def _every(self, name: str, mean_ms: int, action: Callable[[], None]) -> None:
        """Do something again and again at random times, while the faults say so."""
        if mean_ms == 0:
            return

        def again() -> None:
            if getattr(self.faults, f"{name}_every_ms") == 0:
                return
            action()
            self._later(1 + self.random.randrange(2 * mean_ms), name, again)

        self._later(1 + self.random.randrange(2 * mean_ms), name, again)

    def _someone(self) -> Member:
        return self.members[1 + self.random.randrange(len(self.members))]

    def _propose_anywhere(self) -> None:
        """Propose at everyone who takes himself for the leader."""
        for member in self.members.values():
            if member.node is None or member.node.role is not Role.LEADER:
                continue
            self.proposed += 1
            try:
                member.node.propose(b"%d@%d" % (self.proposed, member.id))
            except (NotLeader, ProposalDropped):
                continue
            self._settle(member)

    def _read_anywhere(self) -> None:
        member = self._someone()
        if member.node is None:
            return
        self._contexts += 1
        try:
            member.node.read_index(self._contexts)
        except NoLeader:
            return
        self._asked[member.id, self._contexts] = self.checker.committed_max
        self._settle(member)

    def _crash_someone(self) -> None:
        member = self._someone()
        if member.node is None:
            return
        self.crash(member)
        delay = 1 + self.random.randrange(self.faults.down_ms_max)
        self._later(delay, f"start {member.id}", lambda: self._restart(member))

    def _restart(self, member: Member) -> None:
        if member.node is None:
            self._start(member)

    def _partition(self) -> None:
        """Cut one member off, or one link, in one direction or both, for a while."""
        a = self._someone().id
        others = [i for i in self.members if i != a]
        if self.random.random() < 0.5:
            others = [others[self.random.randrange(len(others))]]
        shape = self.random.randrange(3)
        cut = set()
        for other in others:
            if shape != 1:
                cut.add((a, other))
            if shape != 2:
                cut.add((other, a))
        self._blocked |= cut
        delay = 1 + self.random.randrange(self.faults.partition_ms_max)
        self._later(delay, f"heal {sorted(cut)}", lambda: self._blocked.difference_update(cut))

    def _transfer(self) -> None:
        leader = self.leader()
        if leader is not None:
            leader.transfer_leader(self._someone().id)
            self._settle(self.members[leader.id])

    def _flush_someone(self) -> None:
        """Make what a state machine has applied survive."""
        member = self._someone()
        member.flushed = max(member.flushed, len(member.applied))

    def logs(self) -> dict[int, list[Entry]]:
        """Return the logs of the members that run."""
        return {m.id: log_of(m.node) for m in self.members.values() if m.node is not None}
