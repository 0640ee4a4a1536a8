"""A cluster of Raft nodes in one thread: simulated clock, network and disk, one seed, one run.

Time is a number of milliseconds that jumps from event to event. After every event the safety
properties are checked. The disk loses what was not synced; a sync under way at a crash is there or
not, never half. The state machine is the list of what it applied; a snapshot is a copy of that.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import (
    ChangeAction,
    ConfigurationChange,
    MemberChange,
    Transition,
)
from raftkv.raft.errors import NoLeader, NotLeader, ProposalDropped, RaftError
from raftkv.raft.log import must_reset
from raftkv.raft.messages import Entry, EntryKind, Message, MessageType, SnapshotMetadata
from raftkv.raft.node import RaftNode
from raftkv.raft.ready import PersistWork
from raftkv.raft.roles import Role
from raftkv.testing.cluster_faults import CALM, Faults
from raftkv.testing.memory_log import MemoryLog
from raftkv.testing.safety import SafetyChecker

TICK_MS = 100


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
    installing: SnapshotMetadata | None = None
    """What `syncing` is to put in the place of state and log."""
    configuration: Configuration = field(default_factory=Configuration)
    applied: list[Entry] = field(default_factory=list)
    flushed: int = 0
    """How many of `applied` survive a crash."""
    flushed_configuration: Configuration = field(default_factory=Configuration)
    received: dict[SnapshotMetadata, list[Entry]] = field(default_factory=dict)
    """States that arrived and are not installed; survive a crash, but nobody asks for them then."""

    def flush(self) -> None:
        """Make what is applied survive a crash, with its configuration."""
        self.flushed = len(self.applied)
        self.flushed_configuration = self.configuration

    def swap_state(self, snapshot: SnapshotMetadata) -> None:
        """Replace the state machine, durably."""
        self.applied = list(self.received[snapshot])
        self.configuration = snapshot.configuration
        self.flush()

    def reset_log(self, snapshot: SnapshotMetadata, work: PersistWork) -> None:
        """Let the log begin behind a snapshot, durably."""
        self.log.reset(snapshot.index, snapshot.term, work.hard_state)


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
        self.snapshots_installed = 0
        self.changes_applied = 0
        first = Configuration(frozenset(range(1, members + 1)))
        self.checker.began_with(first)
        self.members = {i: Member(i) for i in range(1, members + 1 + self.faults.strangers)}
        for member in self.members.values():
            if member.id in first.voters:
                member.configuration = member.flushed_configuration = first
            self._start(member)
        self._every("propose", self.faults.propose_every_ms, self._propose_anywhere)
        self._every("read", self.faults.read_every_ms, self._read_anywhere)
        self._every("crash", self.faults.crash_every_ms, self._crash_someone)
        self._every("partition", self.faults.partition_every_ms, self._partition)
        self._every("transfer", self.faults.transfer_every_ms, self._transfer)
        self._every("flush", self.faults.flush_every_ms, self._flush_someone)
        self._every("truncate", self.faults.truncate_every_ms, self._truncate_someone)
        self._every("reconfigure", self.faults.reconfigure_every_ms, self._reconfigure)

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
        """Say whether there is a leader and all its members applied all that it holds."""
        leader = self.leader()
        if leader is None:
            return False
        members = [self.members[i] for i in leader.configuration.members]
        return all(m.node and len(m.applied) == leader.last_index for m in members)

    def states(self) -> list[list[Entry]]:
        """Return what the members of the leader's configuration have applied."""
        leader = self.leader()
        assert leader is not None
        return [self.members[i].applied for i in sorted(leader.configuration.members)]

    def crash(self, member: Member) -> None:
        """Lose what is not synced; a sync under way may or may not have made it."""
        work, snapshot = member.syncing, member.installing
        if work is not None and self.random.random() < 0.5:
            if snapshot is None:
                member.log.append(work.entries, work.hard_state)
            else:
                member.swap_state(snapshot)
                if self.random.random() < 0.5:
                    member.reset_log(snapshot, work)
        member.syncing = member.installing = None
        member.node = None
        member.life += 1
        del member.applied[member.flushed :]
        member.configuration = member.flushed_configuration

    # --- one member ---------------------------------------------------------------------------

    def _start(self, member: Member) -> None:
        config = RaftConfig(
            id=member.id,
            pre_vote=self.faults.pre_vote,
            check_quorum=self.faults.check_quorum,
            election_timeout_ticks=self.faults.election_timeout_ticks,
            entries_per_append_max=self.faults.entries_per_append_max,
            inflight_appends_max=8,
            append_bytes_max=512,
            committed_bytes_max=512,
            cache_bytes_max=4096,
        )
        if member.applied and must_reset(member.log, len(member.applied), member.applied[-1].term):
            member.log.reset(len(member.applied), member.applied[-1].term)
        member.node = RaftNode(
            config,
            member.configuration,
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
                self._begin_sync(member, ready.persist, ready.snapshot)
            self._send(ready.messages)
            for entry in ready.committed_entries:
                self._apply(member, node, entry)
            if ready.committed_entries:
                node.applied(ready.committed_entries[-1].index)
            for read in ready.read_states:
                self.reads_done += 1
                self.checker.read(
                    member.id, read.index, self._asked.pop((member.id, read.context), 0)
                )
        self.checker.observe(node)

    def _apply(self, member: Member, node: RaftNode, entry: Entry) -> None:
        self.checker.applied(member.id, entry, len(member.applied))
        member.applied.append(entry)
        if entry.kind is EntryKind.CONF_CHANGE:
            self.changes_applied += 1
            member.configuration = node.apply_configuration(entry)
            self.checker.configured(member.id, entry.index, member.configuration)

    def _begin_sync(
        self, member: Member, work: PersistWork, snapshot: SnapshotMetadata | None
    ) -> None:
        assert member.syncing is None
        member.syncing, member.installing = work, snapshot
        life = member.life
        delay = self.random.randrange(self.faults.sync_ms_max + 1)
        if snapshot is not None:
            delay = self.random.randrange(self.faults.install_ms_max + 1)
        self._later(delay, f"sync {member.id}", lambda: self._synced(member, life))

    def _synced(self, member: Member, life: int) -> None:
        if member.life != life or member.node is None or member.syncing is None:
            return
        work, snapshot = member.syncing, member.installing
        member.syncing = member.installing = None
        if snapshot is None:
            member.log.append(work.entries, work.hard_state)
        else:
            self.checker.installed(member.id, snapshot, member.received[snapshot])
            self.snapshots_installed += 1
            member.swap_state(snapshot)
            member.reset_log(snapshot, work)
            later = [one for one in member.received if one.index > snapshot.index]
            member.received = {one: member.received[one] for one in later}
        self._send(tuple(member.node.persisted()))
        self._settle(member)

    # --- the network --------------------------------------------------------------------------

    def _send(self, messages: tuple[Message, ...]) -> None:
        for message in messages:
            if message.type is MessageType.SNAPSHOT:
                self._send_snapshot(message)
                continue
            copies = 1 + (self.random.random() < self.faults.duplicate)
            for _ in range(copies):
                if self.random.random() >= self.faults.loss:
                    self._transmit(message)

    def _transmit(self, message: Message) -> None:
        delay = 1 + self.random.randrange(self.faults.delay_ms_max)
        if message.entries and self.random.random() < self.faults.damage:
            last = message.entries[-1]
            damaged = Entry(last.term, last.index, last.kind, last.data + b"!", last.checksum)
            message = message.replaced(entries=(*message.entries[:-1], damaged))
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

    def _send_snapshot(self, message: Message) -> None:
        """Open a snapshot after a while and have it arrive after another; one report at least."""
        sender = self.members[message.sender]
        life = sender.life
        delay = 1 + self.random.randrange(self.faults.snapshot_ms_max)
        self._later(delay, f"open {message.to}", lambda: self._open_snapshot(message, life))

    def _open_snapshot(self, message: Message, life: int) -> None:
        sender = self.members[message.sender]
        if sender.life != life:
            return
        if sender.installing is not None or self.random.random() < self.faults.snapshot_loss:
            self._report_snapshot(message, life, ok=False)
            return
        state = list(sender.applied)
        opened = SnapshotMetadata(len(state), state[-1].term, sender.configuration)
        message = message.replaced(snapshot=opened)
        for _ in range(1 + (self.random.random() < self.faults.duplicate)):
            delay = 1 + self.random.randrange(self.faults.snapshot_ms_max)
            name = f"snapshot {message.sender}->{message.to} {opened.index} {opened.term}"
            self._later(delay, name, lambda: self._receive_snapshot(message, state, life))

    def _receive_snapshot(self, message: Message, state: list[Entry], life: int) -> None:
        receiver = self.members[message.to]
        arrived = receiver.node is not None and (message.sender, message.to) not in self._blocked
        if arrived and receiver.node is not None and message.snapshot is not None:
            receiver.received[message.snapshot] = state
            receiver.node.step(message)
            self._settle(receiver)
        self._report_snapshot(message, life, ok=arrived)

    def _report_snapshot(self, message: Message, life: int, *, ok: bool) -> None:
        sender = self.members[message.sender]
        if sender.life == life and sender.node is not None:
            sender.node.report_snapshot(message.to, ok)
            self._settle(sender)

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
        """Cut one member off, or one link, or one side, in one direction or both, for a while."""
        a = self._someone().id
        side, others = [a], [i for i in self.members if i != a]
        kind = self.random.randrange(5)
        if kind < 2:
            others = [others[self.random.randrange(len(others))]]
        elif kind == 2:
            side += [other for other in others if self.random.random() < 0.5]
            others = [other for other in others if other not in side]
        shape = self.random.randrange(3)
        cut = set()
        for one in side:
            for other in others:
                if shape != 1:
                    cut.add((one, other))
                if shape != 2:
                    cut.add((other, one))
        self._blocked |= cut
        delay = 1 + self.random.randrange(self.faults.partition_ms_max)
        self._later(delay, f"heal {sorted(cut)}", lambda: self._blocked.difference_update(cut))

    def _transfer(self) -> None:
        leader = self.leader()
        if leader is None:
            return
        voters = sorted(leader.configuration.voters)
        leader.transfer_leader(voters[self.random.randrange(len(voters))])
        self._settle(self.members[leader.id])

    def _flush_someone(self) -> None:
        """Make what a state machine has applied survive."""
        self._someone().flush()

    def _truncate_someone(self) -> None:
        """Drop old entries of a log, as far as the flushed state covers them."""
        member = self._someone()
        keep = self.random.randrange(self.faults.log_tail_max + 1)
        if member.node is not None and member.installing is None and member.flushed > keep:
            member.log.truncate_prefix(member.flushed - keep)

    def _reconfigure(self) -> None:
        """Propose a change at everyone who takes himself for the leader."""
        for member in self.members.values():
            if member.node is None or member.node.role is not Role.LEADER:
                continue
            try:
                member.node.propose_configuration(self._any_change(member.configuration))
            except RaftError:
                continue
            self._settle(member)

    def _any_change(self, present: Configuration) -> ConfigurationChange:
        """Make up a change that leaves enough voters; it may not fit."""
        if present.is_joint:
            return ConfigurationChange.leave_joint()
        ids = sorted(self.members)
        actions = [ChangeAction.ADD_VOTER, ChangeAction.ADD_LEARNER, ChangeAction.PROMOTE]
        if len(present.voters) > 2:
            actions.append(ChangeAction.REMOVE)
        count = 1 if self.random.random() < 0.5 else 1 + self.random.randrange(3)
        changes = tuple(
            MemberChange(
                actions[self.random.randrange(len(actions))], ids[self.random.randrange(len(ids))]
            )
            for _ in range(count)
        )
        return ConfigurationChange(changes, Transition(self.random.randrange(len(Transition))))
