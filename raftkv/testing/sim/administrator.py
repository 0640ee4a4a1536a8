"""Changes of membership under load: administrators, each of whom wants one after the other.

Changes go the way of a client's request, through the services of any member (`Reconfiguration`),
except for joint ones, which no client can ask for: those are proposed to the leader's core. What
came of each attempt is recorded, so that it can be compared with the log.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from raftkv.errors import ERRORS, ErrorCode, StoreError
from raftkv.raft.configuration_change import ChangeAction, ConfigurationChange, MemberChange
from raftkv.raft.errors import RaftError
from raftkv.server.membership import MemberRecord
from raftkv.server.reconfiguration import ChangeRequest
from raftkv.testing.history import Outcome
from raftkv.testing.sim.clients import UNKNOWN_TEXTS
from raftkv.testing.sim.machine import Machine, new_record
from raftkv.testing.sim.plan import LEADER, Change, Plan
from raftkv.testing.sim.scheduler import MS, SECOND, Scheduler

__all__ = ["ADMINISTRATORS", "Administrator", "Attempt"]

TIMEOUT_US = 9 * SECOND
"""When an attempt is given up."""

RETRY_US = 300 * MS
RETRIES_MAX = 12
"""Attempts at one change that certainly did nothing, before the administrator gives it up."""

JOIN_RETRY_US = 400 * MS
"""How often a member that is to join asks who the members are."""

STEPS = {"grow": ("add_learner", "promote"), "replace": ("remove", "add_voter")}
"""Changes that are several, one after the other."""

ADMINISTRATORS = 2

VOTERS_MAX = 5
MACHINES_MAX = 9


@dataclass(slots=True)
class Attempt:
    """One request to change the membership, and what its sender knows of it."""

    actions: tuple[MemberChange, ...]
    outcome: Outcome = Outcome.UNKNOWN
    is_settled: bool = False


class Administrator:
    """Carries out the changes of a plan. `counts`: kind of change -> how many were accepted."""

    def __init__(
        self,
        number: int,
        plan: Plan,
        scheduler: Scheduler,
        machines: list[Machine],
        make_machine: Callable[[int], Machine],
        leader: Callable[[], Machine | None],
    ) -> None:
        """Of the plan's changes it wants each that is its turn: administrators do not agree first.

        `make_machine` returns a machine that is not started yet; it is added to `machines`.
        """
        self.counts: Counter[str] = Counter()
        self.attempts: list[Attempt] = []
        self._plan = plan
        self._scheduler = scheduler
        self._machines = machines
        self._make_machine = make_machine
        self._leader = leader
        self._dice = random.Random(f"{plan.seed} administrator {number}")
        self._wanted: deque[tuple[str, int]] = deque()
        self._busy = False
        self._over = False
        for change in plan.changes[number::ADMINISTRATORS]:
            scheduler.later(change.at_us, self._want, change)

    def end(self) -> None:
        """Want nothing more. Members that were let in are still started."""
        self._over = True
        self._wanted.clear()

    # --- one change after the other --------------------------------------------------------------

    def _want(self, change: Change) -> None:
        if self._over:
            return
        steps = STEPS.get(change.kind, (change.kind,))
        self._wanted.extend((step, change.target) for step in steps)
        self._next()

    def _next(self) -> None:
        if self._busy or not self._wanted:
            return
        kind, target = self._wanted.popleft()
        leader = self._leader()
        if leader is None or leader.node.configuration.is_joint:
            self._wanted.appendleft((kind, target))
            self._pause(self._next)
            return
        if kind == "swap":
            self._swap(leader, target)
            return
        request = self._request(leader, kind, target)
        if request is None:
            self._next()
            return
        leader.note(f"change: {kind} {request.member_id:x}")
        self._busy = True
        self._attempt(kind, request, 1)

    def _pause(self, then: Callable[[], None]) -> None:
        self._busy = True

        def go_on() -> None:
            self._busy = False
            if not self._over:
                then()

        self._scheduler.later(RETRY_US, go_on)

    def _request(self, leader: Machine, kind: str, target: int) -> ChangeRequest | None:
        """Turn a wish into a request by what the leader goes by, None where it makes no sense."""
        configuration = leader.node.configuration
        if kind in ("add_voter", "add_learner"):
            if len(self._machines) >= MACHINES_MAX or len(configuration.voters) >= VOTERS_MAX:
                return None
            is_voter = kind == "add_voter"
            action = ChangeAction.ADD_VOTER if is_voter else ChangeAction.ADD_LEARNER
            record = self._newcomer()
            return ChangeRequest(action, record.id, record)
        if kind == "promote":
            learners = sorted(configuration.learners)
            if not learners:
                return None
            return ChangeRequest(ChangeAction.PROMOTE, learners[target % len(learners)])
        members = sorted(configuration.members)
        member_id = leader.id if target == LEADER else members[target % len(members)]
        voters_left = len(configuration.voters - {member_id})
        if voters_left < self._plan.voters_min:
            return None
        return ChangeRequest(ChangeAction.REMOVE, member_id)

    def _newcomer(self) -> MemberRecord:
        """Set up one more machine; it is started when it is let in."""
        number = len(self._machines)
        self._machines.append(self._make_machine(number))
        return new_record(number)

    # --- one attempt -----------------------------------------------------------------------------

    def _attempt(self, kind: str, request: ChangeRequest, count: int) -> None:
        """Ask some member. What certainly did nothing is tried again, up to a bound."""
        up = [one for one in self._machines if one.is_up and not one.loop.is_paused]
        if self._over or not up:
            self._busy = False
            if not self._over:
                self._pause(self._next)
            return
        contact = up[self._dice.randrange(len(up))]
        attempt = Attempt((MemberChange(request.action, request.member_id),))
        self.attempts.append(attempt)

        def settle(outcome: Outcome, text: str) -> None:
            if attempt.is_settled:
                return
            attempt.outcome, attempt.is_settled = outcome, True
            contact.note(f"change: {kind} {request.member_id:x} is {outcome.value} {text}")
            if outcome is Outcome.FAILED and count < RETRIES_MAX:
                self._scheduler.later(RETRY_US, self._attempt, kind, request, count + 1)
                return
            self._accepted(kind, request, outcome)

        contact.loop.call_soon(
            lambda: contact.loop.create_task(self._ask(contact, request, settle))
        )
        self._scheduler.later(TIMEOUT_US, settle, Outcome.UNKNOWN, "given up")

    async def _ask(
        self, contact: Machine, request: ChangeRequest, settle: Callable[[Outcome, str], None]
    ) -> None:
        try:
            await contact.member.changes.change(request)
        except StoreError as error:
            text = ERRORS[ErrorCode(error.code)][1]
            settle(Outcome.UNKNOWN if text in UNKNOWN_TEXTS else Outcome.FAILED, text)
        else:
            settle(Outcome.OK, "")

    def _accepted(self, kind: str, request: ChangeRequest, outcome: Outcome) -> None:
        """Go on after the last attempt; who may have been let in is started."""
        if outcome is not Outcome.FAILED:
            self.counts[kind] += 1
            if request.record is not None:
                self._let_in(request.member_id)
        self._busy = False
        if not self._over:
            self._next()

    def _swap(self, leader: Machine, target: int) -> None:
        """Remove a member and add a new one at once, through a joint configuration."""
        going = self._request(leader, "remove", target)
        if going is None or leader.loop.is_paused or len(self._machines) >= MACHINES_MAX:
            self._next()
            return
        coming = self._newcomer()
        gone = [going.member_id]
        voters = sorted(leader.node.configuration.voters - {leader.id, going.member_id})
        if target % 2 and len(voters) > self._plan.voters_min:
            gone.append(voters[target % len(voters)])
        actions = (
            MemberChange(ChangeAction.ADD_VOTER, coming.id),
            *(MemberChange(ChangeAction.REMOVE, member_id) for member_id in gone),
        )
        leader.note(f"change: swap {[f'{one:x}' for one in gone]} for {coming.id:x}")
        change = ConfigurationChange(actions, context=coming.encode())
        attempt = Attempt(actions)
        self.attempts.append(attempt)

        def propose() -> None:
            attempt.is_settled = True
            try:
                leader.node.propose_configuration(change)
            except RaftError:
                attempt.outcome = Outcome.FAILED
                return
            self.counts["swap"] += 1
            leader.member.wake()
            self._let_in(coming.id)

        leader.loop.call_soon(propose)
        self._pause(self._next)

    # --- new members -----------------------------------------------------------------------------

    def _let_in(self, member_id: int) -> None:
        """Start a new member: it asks the others who they are until somebody knows it."""
        machine = next(one for one in self._machines if one.id == member_id)
        if machine.has_identity:
            return
        up = [one for one in self._machines if one.is_up and not one.loop.is_paused]
        if up:
            asked = up[self._dice.randrange(len(up))]
            membership = asked.member.membership
            if member_id in membership:
                machine.note(f"joins by {asked.name}")
                machine.join(membership)
                machine.start()
                return
        self._scheduler.later(JOIN_RETRY_US, self._let_in, member_id)
