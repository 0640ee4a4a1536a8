"""Plans of pods: what a worker does next, for every state that a runtime can be in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.kubelet.backoff import RestartBackoff
from orchestrator.kubelet.pod_plan import (
    Action,
    CreateSandbox,
    RemoveContainer,
    RemoveSandbox,
    StartContainer,
    StopContainer,
    StopPod,
    plan_pod_actions,
)
from orchestrator.kubelet.pod_view import PodContainers, PodNotes, ProbeVerdicts, container_hash
from orchestrator.runtime.protocol import (
    ANNOTATION_HASH,
    ContainerState,
    ContainerStatus,
    SandboxStatus,
)

NOW = 1_000_000.0


def pod(*names: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": name, "image": "img:1"} for name in names]
    metadata = {"name": "p", "namespace": "default", "uid": "u"}
    return {"metadata": metadata, "spec": {"containers": containers, **spec}}


def init(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, "image": "img:1", **more} for name in names]


def running(name: str, attempt: int = 0) -> ContainerStatus:
    return ContainerStatus(
        id=f"{name}-{attempt}",
        sandbox_id="s0",
        name=name,
        attempt=attempt,
        state=ContainerState.RUNNING,
        created_at_ns=int(NOW - 100 + attempt) * 10**9,
        started_at_ns=int(NOW - 100 + attempt) * 10**9,
    )


def ended(name: str, code: int = 0, attempt: int = 0, ago_s: float = 1.0) -> ContainerStatus:
    return replace(
        running(name, attempt),
        state=ContainerState.EXITED,
        exit_code=code,
        finished_at_ns=int((NOW - ago_s) * 1e9),
    )


def on_node(*containers: ContainerStatus, ready: bool = True, attempt: int = 0) -> PodContainers:
    sandbox = SandboxStatus(
        f"s{attempt}", "u", "default", "p", attempt, ready, 1, "10.0.0.2", containers
    )
    return PodContainers((sandbox,))


def check(
    wanted: list[Action],
    pod: dict[str, Any],
    containers: PodContainers,
    notes: PodNotes | None = None,
) -> float | None:
    plan = plan_pod_actions(pod, containers, notes or PodNotes(), NOW)
    assert plan.actions == wanted
    return plan.wake_at


def test_a_new_pod_gets_a_sandbox_then_its_containers() -> None:
    check([CreateSandbox(0)], pod("a", "b"), PodContainers())
    check([StartContainer("a", 0, False), StartContainer("b", 0, False)], pod("a", "b"), on_node())
    check([], pod("a", "b"), on_node(running("a"), running("b")))


def test_init_containers_run_one_after_the_other() -> None:
    spec = pod("a", initContainers=init("i", "j"))
    check([StartContainer("i", 0, True)], spec, on_node())
    check([], spec, on_node(running("i")))
    check([StartContainer("j", 0, True)], spec, on_node(ended("i")))
    check([StartContainer("a", 0, False)], spec, on_node(ended("i"), ended("j")))


def test_a_failed_init_container_is_run_again_unless_never() -> None:
    spec = pod("a", initContainers=init("i"))
    check([StartContainer("i", 1, True)], spec, on_node(ended("i", 1)))
    never = pod("a", initContainers=init("i"), restartPolicy="Never")
    check([StopPod(30)], never, on_node(ended("i", 1)))


def test_main_containers_wait_for_a_sidecar_to_start_and_keep_it_up() -> None:
    spec = pod("a", initContainers=init("side", restartPolicy="Always"))
    check([], spec, on_node(running("side")))
    started = PodNotes(probes=ProbeVerdicts(started=frozenset({"side-0"})))
    check([StartContainer("a", 0, False)], spec, on_node(running("side")), started)
    check([StartContainer("side", 1, True)], spec, on_node(ended("side"), running("a")))


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_the_restart_policy_decides(policy: str, code: int, again: bool) -> None:
    spec = pod("a", "b", restartPolicy=policy)
    wanted: list[Action] = [StartContainer("a", 1, False)] if again else []
    check(wanted, spec, on_node(ended("a", code), running("b")))


def test_a_pod_whose_containers_are_all_done_loses_its_sandbox() -> None:
    spec = pod("a", restartPolicy="Never")
    check([StopPod(30)], spec, on_node(ended("a")))
    check([], spec, on_node(ended("a"), ready=False))


def test_a_container_that_keeps_ending_waits_from_its_end() -> None:
    notes = PodNotes(restart_delay_s={"a": 20.0})
    wake_at = check([], pod("a"), on_node(ended("a", 1, ago_s=5)), notes)
    assert wake_at == pytest.approx(NOW + 15)
    check([StartContainer("a", 1, False)], pod("a"), on_node(ended("a", 1, ago_s=21)), notes)


def test_a_failed_start_is_tried_again_later() -> None:
    notes = PodNotes(retry_at={"a": NOW + 7})
    assert check([], pod("a"), on_node(), notes) == NOW + 7


def test_a_container_that_was_created_but_not_started_is_made_anew() -> None:
    created = replace(running("a"), state=ContainerState.CREATED)
    check([RemoveContainer("a-0"), StartContainer("a", 0, False)], pod("a"), on_node(created))


def test_a_changed_image_stops_the_container() -> None:
    spec = pod("a")
    same = {ANNOTATION_HASH: container_hash(spec["spec"]["containers"][0])}
    check([], spec, on_node(replace(running("a"), annotations=same)))
    other = replace(running("a"), annotations={ANNOTATION_HASH: "other"})
    text = "Container a definition changed, will be restarted"
    check([StopContainer("a-0", "a", text, 30)], spec, on_node(other))


def test_a_failed_liveness_probe_stops_the_container_only() -> None:
    notes = PodNotes(probes=ProbeVerdicts(failed={"a-0": "said no"}))
    containers = on_node(running("a"), running("b"))
    check([StopContainer("a-0", "a", "said no", 30)], pod("a", "b"), containers, notes)


def test_only_one_dead_incarnation_is_kept() -> None:
    containers = on_node(ended("a", 1, 0), ended("a", 1, 1), running("a", 2))
    check([RemoveContainer("a-0")], pod("a"), containers)


def test_a_dead_sandbox_is_replaced_and_its_containers_count_on() -> None:
    dead = on_node(ended("a", 137), ready=False)
    check([CreateSandbox(1)], pod("a"), dead)
    fresh = SandboxStatus("s1", "u", "default", "p", 1, True, 2, "10.0.0.3")
    both = PodContainers((fresh, *dead.sandboxes))
    check([StartContainer("a", 1, False)], pod("a"), both)
    again = replace(running("a", 1), sandbox_id="s1")
    settled = PodContainers((replace(fresh, containers=(again,)), *dead.sandboxes))
    check([RemoveSandbox("s0")], pod("a"), settled)


def test_restart_counts_go_on_where_the_runtime_forgot() -> None:
    spec = pod("a")
    posted = {"name": "a", "containerID": "x://1", "restartCount": 4}
    spec["status"] = {"containerStatuses": [posted]}
    check([StartContainer("a", 5, False)], spec, on_node())


@pytest.mark.parametrize(("given", "grace_s"), [(None, 30), (5, 5), (0, 1)])
def test_a_deleted_pod_is_stopped_within_its_grace(given: int | None, grace_s: int) -> None:
    spec = pod("a")
    spec["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if given is not None:
        spec["metadata"]["deletionGracePeriodSeconds"] = given
    check([StopPod(grace_s)], spec, on_node(running("a")))
    check([], spec, on_node(ended("a"), ready=False))


def test_a_pod_that_the_kubelet_failed_is_stopped() -> None:
    notes = PodNotes(failure=("DeadlineExceeded", "too long"))
    check([StopPod(30)], pod("a"), on_node(running("a")), notes)


def test_back_off_doubles_to_its_limit_and_forgets() -> None:
    backoff = RestartBackoff()
    assert backoff.delay_s("a", NOW) == 0
    delays = []
    for n in range(7):
        backoff.advance("a", NOW + n)
        delays.append(backoff.delay_s("a", NOW + n))
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    assert backoff.delay_s("b", NOW) == 0
    assert backoff.delay_s("a", NOW + 7 + 300 + 601) == 0
