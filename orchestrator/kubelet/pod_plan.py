"""Decide what to do next for one pod: spec and runtime state in, actions out.

Level-triggered: the worker carries the actions out in order, looks again, and asks again until
nothing is left to do; `wake_at` says when to ask even though nothing has changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.api.json_object import JsonObject
from orchestrator.kubelet.pod_view import (
    TERMINAL_PHASES,
    PodContainers,
    PodNotes,
    container_hash,
    containers_of,
    init_containers_of,
    is_deleted,
    is_sidecar,
    next_attempt,
    restart_policy,
    should_restart,
)
from orchestrator.runtime.protocol import ANNOTATION_HASH, ContainerState, ContainerStatus

DEFAULT_GRACE_PERIOD_S = 30
GRACE_PERIOD_S_MIN = 1
"""Even a pod without grace gets SIGTERM first, as upstream does it."""

DEAD_CONTAINERS_KEPT = 1
"""Ended incarnations kept for each container, for `lastState` and `kubectl logs -p`."""


@dataclass(frozen=True, slots=True)
class StopPod:
    """Stop every container, then the sandbox."""

    grace_period_s: int


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    attempt: int


@dataclass(frozen=True, slots=True)
class StartContainer:
    name: str
    attempt: int
    init: bool


@dataclass(frozen=True, slots=True)
class StopContainer:
    """Stop one container because of `message`; what follows is the next look's matter."""

    id: str
    name: str
    message: str
    grace_period_s: int


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    id: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    id: str


Action = StopPod | CreateSandbox | StartContainer | StopContainer | RemoveContainer | RemoveSandbox


@dataclass(slots=True)
class PodPlan:
    actions: list[Action] = field(default_factory=list)
    wake_at: float | None = None
    """Seconds since the epoch; None where only a change brings work."""

    def wake_no_later_than(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


def plan_pod_actions(
    pod: JsonObject, containers: PodContainers, notes: PodNotes, now: float
) -> PodPlan:
    """Return the next actions for the pod; none where it is as it should be.

    `now` is in seconds since the epoch, as are the times in `notes`.
    """
    plan = PodPlan()
    if is_deleted(pod) or notes.failure is not None or is_finished(pod, containers):
        sandbox_up = any(sandbox.ready for sandbox in containers.sandboxes)
        if containers.running or sandbox_up:
            plan.actions.append(StopPod(grace_period_s(pod)))
        return plan
    sandbox = containers.sandbox
    if sandbox is None or not sandbox.ready:
        _plan_sandbox(plan, containers, notes, now)
        return plan
    _remove_old(plan, pod, containers)
    if _plan_init(plan, pod, containers, notes, now):
        for container in containers_of(pod):
            _plan_container(plan, pod, container, containers, notes, now, init=False)
    return plan


def grace_period_s(pod: JsonObject) -> int:
    """Return the grace of the deletion where there is one, else the pod's own."""
    given = pod["metadata"].get("deletionGracePeriodSeconds")
    if given is None:
        given = pod["spec"].get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE_PERIOD_S if given is None else max(int(given), GRACE_PERIOD_S_MIN)


def is_finished(pod: JsonObject, containers: PodContainers) -> bool:
    """Return True where no container of the pod will run (again)."""
    if pod.get("status", {}).get("phase") in TERMINAL_PHASES:
        return True
    for container in init_containers_of(pod):
        if is_sidecar(container):
            continue
        latest = containers.latest(container["name"])
        if latest is not None and latest.state is ContainerState.EXITED and latest.exit_code != 0:
            return restart_policy(pod) == "Never"
    mains = [(c, containers.latest(c["name"])) for c in containers_of(pod)]
    return all(
        latest is not None
        and latest.state is ContainerState.EXITED
        and not should_restart(pod, container, latest.exit_code, init=False)
        for container, latest in mains
    )


def _plan_sandbox(plan: PodPlan, containers: PodContainers, notes: PodNotes, now: float) -> None:
    """A sandbox that is not ready any more has lost its network: stop all, begin anew."""
    if containers.running:
        plan.actions.append(StopPod(0))
    sandbox = containers.sandbox
    retry_at = notes.retry_at.get("", 0.0)
    if retry_at > now:
        plan.wake_no_later_than(retry_at)
        return
    plan.actions.append(CreateSandbox(0 if sandbox is None else sandbox.attempt + 1))


def _remove_old(plan: PodPlan, pod: JsonObject, containers: PodContainers) -> None:
    for container in [*init_containers_of(pod), *containers_of(pod)]:
        history = containers.history(container["name"])
        for old in history[1 + DEAD_CONTAINERS_KEPT :]:
            if old.state is not ContainerState.RUNNING:
                plan.actions.append(RemoveContainer(old.id))
    # The sandbox before the current one goes once none of its containers is worth keeping.
    for old_sandbox in containers.sandboxes[1:]:
        names = {container.name for container in old_sandbox.containers}
        if all(containers.in_sandbox(name) is not None for name in names):
            plan.actions.append(RemoveSandbox(old_sandbox.id))


def _plan_init(
    plan: PodPlan, pod: JsonObject, containers: PodContainers, notes: PodNotes, now: float
) -> bool:
    """Bring up init containers in order; return True where the main containers may run."""
    mains_began = any(containers.in_sandbox(c["name"]) for c in containers_of(pod))
    for container in init_containers_of(pod):
        current = containers.in_sandbox(container["name"])
        if is_sidecar(container):
            _plan_container(plan, pod, container, containers, notes, now, init=True)
            started = current is not None and current.id in notes.probes.started
            if not started and not mains_began:
                return False
            continue
        if mains_began:
            continue
        if current is None or current.state is not ContainerState.EXITED or current.exit_code:
            _plan_container(plan, pod, container, containers, notes, now, init=True)
            return False
    return True


def _plan_container(
    plan: PodPlan,
    pod: JsonObject,
    container: JsonObject,
    containers: PodContainers,
    notes: PodNotes,
    now: float,
    *,
    init: bool,
) -> None:
    name = container["name"]
    current = containers.in_sandbox(name)
    if current is not None and current.state is ContainerState.RUNNING:
        _plan_running(plan, pod, container, current, notes)
        return
    if current is not None and current.state is ContainerState.EXITED:
        if not should_restart(pod, container, current.exit_code, init):
            return
        ended_at = current.finished_at_ns / 1e9
        blocked_until = ended_at + notes.restart_delay_s.get(name, 0.0)
    else:
        blocked_until = 0.0
    blocked_until = max(blocked_until, notes.retry_at.get(name, 0.0))
    if blocked_until > now:
        plan.wake_no_later_than(blocked_until)
        return
    if current is not None and current.state is not ContainerState.EXITED:
        # Created and never started: what started it has failed or was interrupted.
        plan.actions.append(RemoveContainer(current.id))
        plan.actions.append(StartContainer(name, current.attempt, init))
        return
    plan.actions.append(StartContainer(name, next_attempt(pod, containers, name), init))


def _plan_running(
    plan: PodPlan,
    pod: JsonObject,
    container: JsonObject,
    current: ContainerStatus,
    notes: PodNotes,
) -> None:
    name = container["name"]
    message = notes.probes.failed.get(current.id, "")
    started_as = current.annotations.get(ANNOTATION_HASH)
    if started_as is not None and started_as != container_hash(container):
        message = f"Container {name} definition changed, will be restarted"
    if message:
        plan.actions.append(StopContainer(current.id, name, message, grace_period_s(pod)))
