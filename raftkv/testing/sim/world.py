"""One run: a cluster, its clients and its faults; then calm, and the verdict."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raftkv.raft.configuration import Configuration
from raftkv.raft.messages import Entry, SnapshotMetadata
from raftkv.raft.progress import ProgressState
from raftkv.testing.history import Operation, Outcome
from raftkv.testing.safety import SafetyChecker, SafetyViolation
from raftkv.testing.sim.administrator import ADMINISTRATORS, Administrator
from raftkv.testing.sim.clients import LEASE_TTL_S, READS, Client
from raftkv.testing.sim.machine import Machine
from raftkv.testing.sim.nemesis import Nemesis
from raftkv.testing.sim.network import SimulatedNetwork
from raftkv.testing.sim.plan import CLIENTS, TICK_US, Plan
from raftkv.testing.sim.scheduler import MS, SECOND, Scheduler
from raftkv.testing.sim.second_verdict import check_again
from raftkv.testing.sim.trace import Trace
from raftkv.testing.sim.transport import SimulatedTransport
from raftkv.testing.sim.truth import Truth, replay
from raftkv.testing.sim.verdict import check_changes, check_history, check_leases, check_watch
from raftkv.testing.sim.watchers import Watching, WatchingClient

__all__ = ["PROGRESS_TICKS_MAX", "Report", "World", "run"]

PROGRESS_TICKS_MAX = 150
"""Ticks after the last fault within which every member has a leader, all that is
committed, and every client an answer."""

REQUESTS_US = 120 * SECOND
"""How long clients may take for all the requests that faults held up."""

LEASES_US = (LEASE_TTL_S + 6) * SECOND
"""Time to live, the extension after an election, and a revocation that is tried again."""

CLIENTS_US = 12 * SECOND
"""How long members and watchers may then take to be level."""

STARTS_US_MAX = 300 * MS
"""Within which time the members are first started."""

MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where the states are kept: the syncs of a real disk would be all that a run is."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run was."""

    plan: Plan
    simulated_us: int
    events: int
    outcomes: dict[Outcome, int]
    faults: dict[str, int]
    happenings: Counter[str]
    """Changes of membership, snapshots, compactions, restarts: what went on besides."""
    committed: int
    terms: int
    recovery_us: int
    """From the end of the faults to agreement."""
    digest: str
    """Of the trace."""


@contextmanager
def _directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="raftkv-sim-", dir=MEMORY_DISK))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run(plan: Plan, trace: Trace | None = None) -> Report:
    """Carry out a plan. Raises SafetyViolation, Violation, or whatever a member raised."""
    with _directory() as directory:
        world = World(plan, directory, trace or Trace())
        try:
            return world.run()
        finally:
            world.close()


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan, directory: Path, trace: Trace) -> None:
        self.plan = plan
        self.directory = directory
        self.trace = trace
        self.scheduler = Scheduler()
        self.checker = SafetyChecker()
        self.history: list[Operation] = []
        self.counts: Counter[str] = Counter()
        self._committed_at: dict[int, int] = {}
        self._committed_max = 0
        self._goal = (0, 0, 0)
        """Of the recovery: who leads in which term, and what its log held."""
        self.network = SimulatedNetwork(
            self.scheduler, plan.seed, plan.quality, on_lost=self._connection_lost
        )
        self._by_id: dict[int, Machine] = {}
        self.machines = [self._machine(number) for number in range(plan.members)]
        self._first = Configuration(frozenset(machine.id for machine in self.machines))
        self.checker.began_with(self._first)

    def _machine(self, number: int) -> Machine:
        machine = Machine(
            self.plan,
            number,
            self.directory / f"m{number}",
            self.scheduler,
            self.network,
            self.trace,
            find=self._transport_of,
            eyes=self,
        )
        machine.on_end = lambda: self._ended(machine)
        self._by_id[machine.id] = machine
        return machine

    # --- the course of a run ---------------------------------------------------------------------

    def run(self) -> Report:
        """Faults, then calm, then the verdict."""
        plan, scheduler = self.plan, self.scheduler
        for number, machine in enumerate(self.machines):
            scheduler.later(1 + number * STARTS_US_MAX // plan.members, self._first_start, machine)
        self.clients = [
            Client(
                number,
                plan.seed,
                scheduler,
                self.machines,
                [request for request in plan.requests if request.client == number],
                self.history,
                self._note,
            )
            for number in range(CLIENTS)
        ]
        self.watchers = [
            WatchingClient(number, plan.seed, scheduler, self.machines, watching)
            for number, watching in enumerate(
                (
                    Watching(b"k", b"l", prev_kv=True),
                    Watching(b"k", b"l", prev_kv=False),
                    Watching(b"k1", b"", prev_kv=True),
                    Watching(b"\0", b"\0", prev_kv=True),
                )
            )
        ]
        self.nemesis = Nemesis(plan, scheduler, self.network, self.machines)
        self.administrators = [
            Administrator(
                number, plan, scheduler, self.machines, self._machine, self.nemesis.leader
            )
            for number in range(ADMINISTRATORS)
        ]
        scheduler.run_until(lambda: False, plan.duration_us)
        self._note("", "the faults end")
        for administrator in self.administrators:
            administrator.end()
        self.nemesis.end()
        recovery_us = self._recover()
        self._outlive_leases()
        truth = self._truth()
        self._judge(truth)
        outcomes = {
            outcome: sum(one.outcome is outcome for one in self.history) for outcome in Outcome
        }
        return Report(
            plan=plan,
            simulated_us=scheduler.now_us,
            events=scheduler.event_count,
            outcomes=outcomes,
            faults=self.nemesis.counts,
            happenings=self._happenings(truth),
            committed=self.checker.committed_max,
            terms=len(self.checker.leaders),
            recovery_us=recovery_us,
            digest=self.trace.digest(),
        )

    def _happenings(self, truth: Truth) -> Counter[str]:
        changes = sum((one.counts for one in self.administrators), Counter[str]())
        counts = self.counts + Counter({f"member {kind}": n for kind, n in changes.items()})
        counts.update(name for machine in self.machines for name in machine.disk.counts.elements())
        counts["leader change"] = len(self.checker.leaders)
        counts["configuration"] = len(self.checker.configurations) - 1
        counts["compaction"] = truth.compactions
        counts["lease expiry"] = len(truth.expiries)
        counts["process start"] = sum(machine.life for machine in self.machines)
        counts["removed member ended"] = sum(machine.is_gone for machine in self.machines)
        return counts

    def _first_start(self, machine: Machine) -> None:
        if not machine.is_up and not machine.life:
            machine.start()

    def _recover(self) -> int:
        """Demand agreement within the stated ticks, and then an answer for every client."""
        scheduler = self.scheduler
        calm_us = scheduler.now_us
        limit_us = PROGRESS_TICKS_MAX * TICK_US
        if not self._run_while_not(self._has_recovered, calm_us + limit_us):
            raise SafetyViolation(
                "Progress", f"no agreement {PROGRESS_TICKS_MAX} ticks after the faults ended"
            )
        recovery_us = scheduler.now_us - calm_us
        limit_us = scheduler.now_us + REQUESTS_US
        if not self._run_while_not(lambda: all(one.is_done for one in self.clients), limit_us):
            raise SafetyViolation("Progress", "clients get no answers in a calm world")
        self._level_all()
        return recovery_us

    def _level_all(self) -> None:
        """Demand that members and watchers come to know all that happened."""
        limit_us = self.scheduler.now_us + CLIENTS_US
        if not self._run_while_not(lambda: self._is_level() and self._watchers_level(), limit_us):
            raise SafetyViolation("Progress", "watchers or members lag behind in a calm world")

    def _outlive_leases(self) -> None:
        """Demand that leases which nobody renews any more come to their end."""
        limit_us = self.scheduler.now_us + LEASES_US
        if not self._run_while_not(
            lambda: self._is_level() and not any(one.store.lease_ids() for one in self._current()),
            limit_us,
        ):
            raise SafetyViolation("Lease Expiry", "leases outlive their time to live")
        self._level_all()

    def _run_while_not(self, done: object, end_us: int) -> bool:
        """Let time pass until something holds, looking every few events."""
        count = 0

        def seldom() -> bool:
            nonlocal count
            count += 1
            return count % 16 == 0 and bool(done())  # type: ignore[operator]

        return self.scheduler.run_until(seldom, end_us)

    def _has_recovered(self) -> bool:
        """Whether everyone follows a leader, has what that held when first seen, and reads on.

        Clients go on asking: at no moment need anybody have all that the leader has by then. But
        nobody may go from one snapshot to the next.
        """
        leader = self.nemesis.leader()
        if leader is None:
            return False
        leadership = leader.id, leader.node.term
        if self._goal[:2] != leadership:
            self._goal = *leadership, leader.node.last_index
        followers = leader.node.status().followers.values()
        return self._is_level(self._goal[2]) and all(
            follower.state is ProgressState.REPLICATE for follower in followers
        )

    def _is_level(self, index: int | None = None) -> bool:
        """Whether there is a leader, everyone applied what it holds, and nobody else is left.

        What it holds is its log, or that up to `index`. A member that was removed ends, unless
        nobody is left of whom it knows.
        """
        leader = self.nemesis.leader()
        if leader is None or leader.node.configuration.is_joint:
            return False
        goal = leader.node.last_index if index is None else index
        for machine in self.machines:
            if machine.id not in leader.node.configuration.members:
                if machine.is_up and self._could_hear(machine, leader):
                    return False
            elif (
                not machine.is_up
                or machine.node.leader_id != leader.id
                or machine.node.applied_index < goal
            ):
                return False
        return True

    def _could_hear(self, stranger: Machine, leader: Machine) -> bool:
        known = stranger.member.membership.ids
        return bool(known & leader.node.configuration.members)

    def _current(self) -> list[Machine]:
        """Return the members that there are, as the leader knows."""
        leader = self.nemesis.leader()
        if leader is None:
            return []
        members = leader.node.configuration.members
        return [machine for machine in self.machines if machine.id in members]

    def _watchers_level(self) -> bool:
        revision = max(machine.store.revision for machine in self._current())
        return all(watcher.next_revision > revision for watcher in self.watchers)

    def close(self) -> None:
        """End what still runs."""
        for machine in self.machines:
            if machine.is_up:
                machine.pool.crash()
                machine.loop.close()
                machine.store.close()

    # --- the verdict -----------------------------------------------------------------------------

    def _truth(self) -> Truth:
        committed = self.checker.committed
        entries: list[Entry] = [
            committed[index][0] for index in range(1, self.checker.committed_max + 1)
        ]
        reads = [
            one
            for one in self.history
            if one.kind in READS and one.kind != "lease_keep_alive" and one.outcome is Outcome.OK
        ]
        return replay(entries, reads, self._first, self.directory / "truth")

    def _judge(self, truth: Truth) -> None:
        for machine in self._current():
            found = machine.store.hash_kv(0)
            if found != truth.hash:
                raise SafetyViolation(
                    "State Machine Safety",
                    f"{machine.name} has state {found}, the log makes {truth.hash}",
                )
            leases = {one: machine.store.lease_ttl(one) for one in machine.store.lease_ids()}
            if leases != truth.leases:
                raise SafetyViolation("State Machine Safety", f"{machine.name} has leases {leases}")
            self._judge_membership(machine, truth)
        check_changes([one for each in self.administrators for one in each.attempts], truth)
        check_history(self.history, truth)
        check_leases(self.history, truth, lambda index: self._committed_at[index] / SECOND)
        for number, watcher in enumerate(self.watchers):
            check_watch(watcher.watching, truth, f"watcher {number}")
        check_again(
            self.history,
            [stream for watcher in self.watchers for stream in watcher.streams],
            truth,
            lambda index: self._committed_at[index] / SECOND,
            self.scheduler.now_us / SECOND,
        )

    def _judge_membership(self, machine: Machine, truth: Truth) -> None:
        member = machine.member
        if machine.node.configuration != truth.configuration:
            raise SafetyViolation(
                "State Machine Safety",
                f"{machine.name} goes by {machine.node.configuration}, not {truth.configuration}",
            )
        if member.membership.ids != truth.configuration.members:
            raise SafetyViolation(
                "State Machine Safety", f"{machine.name} lists {member.membership.list()}"
            )
        if member.cluster.alarms.is_corrupt:
            raise SafetyViolation("State Machine Safety", "members found their states to differ")

    # --- the checkers' eyes ----------------------------------------------------------------------

    def after_event(self, machine: Machine) -> None:
        """Look at a member after each of its events, if anything of it is new."""
        if not machine.is_up:
            return
        node, log = machine.node, machine.node._state.log
        failure = machine.loop.failure
        if failure is not None:
            raise failure
        seen = (
            node.role,
            node.term,
            log.commit_index,
            log.last_index,
            log.last_term,
            log.first_index,
        )
        if seen == machine.seen:
            return
        if not machine.seen or seen[:2] != machine.seen[:2]:
            machine.note(f"is {node.role.name} of term {node.term}")
        fresh = not machine.seen
        machine.seen = seen
        if fresh:
            self.checker.restarted(node)
        else:
            self.checker.observe(node)
        for index in range(self._committed_max + 1, self.checker.committed_max + 1):
            self._committed_at[index] = self.scheduler.now_us
        self._committed_max = self.checker.committed_max

    def applying(self, machine: Machine, entry: Entry) -> None:
        self.checker.applied(machine.number, entry, machine.applied_index)
        machine.applied_index = entry.index
        machine.note(f"applies {entry.index} of term {entry.term}")

    def configured(self, machine: Machine, index: int, to: Configuration) -> None:
        """Compare what a change of membership made of the members everywhere."""
        self.checker.configured(machine.number, index, to)
        machine.note(
            f"goes by voters {sorted(to.voters)} and {sorted(to.voters_outgoing)},"
            f" learners {sorted(to.learners)}"
        )

    def installing(self, machine: Machine, snapshot: SnapshotMetadata) -> None:
        """A snapshot takes the place of what this member applied."""
        self.counts["snapshot"] += 1
        self.checker.joined(machine.number, snapshot)
        machine.note(f"installs a snapshot at {snapshot.index}")
        machine.applied_index = snapshot.index
        self.exposed(machine, machine.disk.sync_us_max)

    def exposed(self, machine: Machine, microseconds: int) -> None:
        """For so long a crash of this member would find a snapshot half received or installed."""
        self.nemesis.expose(machine, microseconds)

    # --- who is where ----------------------------------------------------------------------------

    def _note(self, who: str, what: str) -> None:
        self.trace.note(self.scheduler.now_us, who, what)

    def _transport_of(self, member_id: int) -> SimulatedTransport | None:
        machine = self._by_id.get(member_id)
        return machine.transport if machine is not None and machine.is_up else None

    def _connection_lost(self, sender: int, receiver: int) -> None:
        transport = self._transport_of(sender)
        if transport is not None:
            transport.lost(receiver)

    def _ended(self, machine: Machine) -> None:
        for client in self.clients:
            client.member_ended(machine)
        for watcher in self.watchers:
            watcher.member_ended(machine)
