"""Carries out the faults of a plan."""

from __future__ import annotations

import random
from dataclasses import replace

from raftkv.raft.errors import RaftError
from raftkv.raft.roles import Role
from raftkv.testing.sim.machine import Machine
from raftkv.testing.sim.network import SimulatedNetwork
from raftkv.testing.sim.plan import LEADER, Fault, Plan
from raftkv.testing.sim.scheduler import MS, Scheduler

__all__ = ["Nemesis"]


class Nemesis:
    """Breaks things when the plan says so, and mends each after its time."""

    def __init__(
        self,
        plan: Plan,
        scheduler: Scheduler,
        network: SimulatedNetwork,
        machines: list[Machine],
    ) -> None:
        self.counts: dict[str, int] = {}
        """Kind of fault -> how often it struck."""
        self._scheduler = scheduler
        self._network = network
        self._machines = machines
        self._dice = random.Random(f"{plan.seed} nemesis")
        self._plan = plan
        self._over = False
        self._armed: list[Fault] = []
        """Crashes that wait for a moment in which something is half done."""
        for fault in plan.faults:
            scheduler.later(fault.at_us, self._strike, fault)

    def leader(self) -> Machine | None:
        """Return the leader of the highest term among those that run."""
        leaders = [
            machine
            for machine in self._machines
            if machine.is_up and machine.node.role is Role.LEADER
        ]
        return max(leaders, key=lambda machine: machine.node.term, default=None)

    def end(self) -> None:
        """Mend everything at once; nothing strikes any more.

        The world is then as the plan's, or quicker where that is too slow for any leader.
        """
        self._over = True
        self._network.calm(self._plan.calm_quality)
        for machine in self._machines:
            machine.disk.full = False
            machine.disk.failing = 0
            machine.disk.may_end = False
            machine.disk.sync_us_max = self._plan.calm_sync_us_max
            if machine.is_up and machine.loop.is_paused:
                machine.resume()
            if machine.may_start:
                machine.start()

    def _strike(self, fault: Fault) -> None:
        if self._over:
            return
        there = [machine for machine in self._machines if machine.has_identity] or self._machines
        there = [machine for machine in there if not machine.is_gone] or there
        machine = there[max(fault.target, 0) % len(there)]
        if fault.target == LEADER:
            machine = self.leader() or machine
        other = there[fault.other % len(there)]
        if other is machine:
            other = there[(fault.other + 1) % len(there)]
        self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1
        machine.note(f"fault: {fault.kind} {other.name} {fault.duration_us / MS:.0f} ms")
        getattr(self, f"_{fault.kind}")(fault, machine, other)

    def _until(self, fault: Fault, mend: object, *arguments: object) -> None:
        def unless_over() -> None:
            if not self._over:
                mend(*arguments)  # type: ignore[operator]

        self._scheduler.later(fault.duration_us, unless_over)

    # --- processes -----------------------------------------------------------------------------

    def _crash(self, fault: Fault, machine: Machine, _other: Machine) -> None:
        if machine.is_up:
            machine.crash()
            self._until(fault, self._start, machine, machine.life)

    def _crash_exposed(self, fault: Fault, _machine: Machine, _other: Machine) -> None:
        self._armed.append(fault)

    def expose(self, machine: Machine, microseconds: int) -> None:
        """Strike, perhaps, while a member is in the middle of a snapshot."""
        if self._over or not self._armed or self._dice.random() < 0.6:
            return
        fault, life = self._armed.pop(0), machine.life
        self.counts["crash in a snapshot"] = self.counts.get("crash in a snapshot", 0) + 1

        def strike() -> None:
            if not self._over and machine.life == life:
                self._crash(fault, machine, machine)

        self._scheduler.later(self._dice.randrange(microseconds), strike)

    def _start(self, machine: Machine, life: int) -> None:
        if machine.may_start and machine.life == life:
            machine.start()

    def _crash_all(self, fault: Fault, _machine: Machine, _other: Machine) -> None:
        for machine in self._machines:
            if not machine.is_up and not machine.may_start:
                continue
            if machine.is_up:
                machine.crash()
            late = replace(fault, duration_us=1 + self._dice.randrange(fault.duration_us))
            self._until(late, self._start, machine, machine.life)

    def _pause(self, fault: Fault, machine: Machine, _other: Machine) -> None:
        if machine.is_up and not machine.loop.is_paused:
            machine.pause()
            self._until(fault, self._resume, machine, machine.life)

    def _resume(self, machine: Machine, life: int) -> None:
        if machine.is_up and machine.life == life:
            machine.resume()

    def _skew(self, _fault: Fault, machine: Machine, _other: Machine) -> None:
        machine.set_rate(0.95 + self._dice.random() * 0.1)

    def _transfer(self, _fault: Fault, machine: Machine, other: Machine) -> None:
        leader = self.leader()
        if leader is None or leader is other or leader.loop.is_paused:
            return
        target = other if leader is machine else machine
        leader.loop.call_soon(_hand_over, leader, target.id)

    # --- the network ---------------------------------------------------------------------------

    def _isolate(self, fault: Fault, machine: Machine, _other: Machine) -> None:
        self._cut(fault, machine, both=True)

    def _one_way(self, fault: Fault, machine: Machine, _other: Machine) -> None:
        self._cut(fault, machine, both=False)

    def _cut(self, fault: Fault, machine: Machine, *, both: bool) -> None:
        pairs = []
        for one in self._machines:
            if one is not machine:
                if both or fault.other % 2:
                    pairs.append((machine.id, one.id))
                if both or not fault.other % 2:
                    pairs.append((one.id, machine.id))
        self._network.cut(pairs, noticed=fault.noticed)
        self._until(fault, self._network.heal, pairs)

    def _cut_link(self, fault: Fault, machine: Machine, other: Machine) -> None:
        pairs = [(machine.id, other.id), (other.id, machine.id)]
        self._network.cut(pairs, noticed=fault.noticed)
        self._until(fault, self._network.heal, pairs)

    def _clog(self, fault: Fault, machine: Machine, other: Machine) -> None:
        pairs = [(machine.id, other.id)]
        if fault.noticed:
            pairs = [(machine.id, one.id) for one in self._machines if one is not machine]
        self._network.clog(pairs, self._scheduler.now_us + fault.duration_us)

    def _lossy(self, fault: Fault, _machine: Machine, _other: Machine) -> None:
        self._network.quality = replace(self._network.quality, loss=0.3, duplicate=0.2, slow=0.2)
        self._until(fault, self._restore_quality)

    def _restore_quality(self) -> None:
        self._network.quality = self._plan.quality

    # --- disks ---------------------------------------------------------------------------------

    def _slow_disk(self, fault: Fault, machine: Machine, _other: Machine) -> None:
        machine.disk.sync_us_max = 1500 * MS if fault.noticed else 200 * MS
        self._until(fault, self._restore_disk, machine)

    def _restore_disk(self, machine: Machine) -> None:
        machine.disk.sync_us_max = machine.plan.sync_us_max
        machine.disk.full = False

    def _disk_error(self, _fault: Fault, machine: Machine, _other: Machine) -> None:
        machine.disk.failing = 1

    def _disk_full(self, fault: Fault, machine: Machine, _other: Machine) -> None:
        machine.disk.full = True
        self._until(fault, self._restore_disk, machine)


def _hand_over(leader: Machine, target_id: int) -> None:
    """Ask a leader to let another one lead; it may not lead any more."""
    try:
        leader.node.transfer_leader(target_id)
    except RaftError:
        return
    leader.member.wake()
