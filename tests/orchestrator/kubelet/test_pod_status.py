"""Statuses of pods: phase, conditions and container states as upstream words them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.kubelet.pod_view import PodContainers, PodNotes, ProbeVerdicts, Waiting
from orchestrator.kubelet.status import NodeIdentity, compute_pod_status
from tests.orchestrator.kubelet.test_pod_plan import NOW, ended, init, on_node, pod, running

NODE = NodeIdentity("192.168.0.5", "containerd")


def check(
    pod: dict[str, Any], containers: PodContainers, notes: PodNotes | None = None
) -> dict[str, Any]:
    ids = frozenset(c.id for c in containers.running)
    notes = notes or PodNotes(probes=ProbeVerdicts(ids, ids))
    return compute_pod_status(pod, containers, notes, NODE, datetime.fromtimestamp(NOW, UTC))


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status["conditions"]}


@pytest.mark.parametrize(
    ("policy", "containers", "phase"),
    [
        ("Always", PodContainers(), "Pending"),
        ("Always", on_node(), "Pending"),
        ("Always", on_node(running("a")), "Pending"),
        ("Always", on_node(running("a"), running("b")), "Running"),
        ("Always", on_node(running("a"), ended("b", 1)), "Running"),
        ("Always", on_node(ended("a"), ended("b")), "Running"),
        ("OnFailure", on_node(ended("a"), ended("b")), "Succeeded"),
        ("OnFailure", on_node(ended("a", 1), ended("b")), "Running"),
        ("Never", on_node(ended("a", 1), ended("b")), "Failed"),
        ("Never", on_node(ended("a", 1), running("b")), "Running"),
        ("Never", on_node(ended("a"), ended("b")), "Succeeded"),
    ],
)
def test_phase(policy: str, containers: PodContainers, phase: str) -> None:
    assert check(pod("a", "b", restartPolicy=policy), containers)["phase"] == phase


def test_phase_is_pending_while_init_containers_run() -> None:
    spec = pod("a", initContainers=init("i"))
    status = check(spec, on_node(running("i")))
    assert status["phase"] == "Pending"
    assert conditions(status)["Initialized"] == "False"
    waiting = status["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "PodInitializing"}


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    spec = pod("a", initContainers=init("i"), restartPolicy="Never")
    assert check(spec, on_node(ended("i", 1)))["phase"] == "Failed"


def test_a_terminal_phase_is_never_left() -> None:
    spec = pod("a")
    spec["status"] = {"phase": "Failed", "reason": "Evicted", "message": "too big"}
    status = check(spec, on_node(running("a")))
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")


def test_the_last_word_about_a_deleted_pod_is_terminal() -> None:
    spec = pod("a")
    spec["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert check(spec, on_node(ended("a", 0), ready=False))["phase"] == "Succeeded"
    assert check(spec, on_node(ended("a", 137), ready=False))["phase"] == "Failed"
    assert check(spec, PodContainers())["phase"] == "Failed"


def test_a_running_pod_is_ready_with_all_its_conditions() -> None:
    status = check(pod("a"), on_node(running("a")))
    assert set(conditions(status).values()) == {"True"}
    assert status["podIP"] == "10.0.0.2"
    assert status["hostIPs"] == [{"ip": "192.168.0.5"}]
    (container,) = status["containerStatuses"]
    assert container["containerID"] == "containerd://a-0"
    assert container["ready"]
    assert container["started"]


def test_readiness_follows_the_probe() -> None:
    notes = PodNotes(probes=ProbeVerdicts(started=frozenset({"a-0"})))
    status = check(pod("a"), on_node(running("a")), notes)
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert ready["message"] == "containers with unready status: [a]"


def test_readiness_gates_hold_ready_back() -> None:
    spec = pod("a", readinessGates=[{"conditionType": "x.io/ok"}])
    assert conditions(check(spec, on_node(running("a"))))["Ready"] == "False"
    spec["status"] = {"conditions": [{"type": "x.io/ok", "status": "True"}]}
    status = check(spec, on_node(running("a")))
    assert conditions(status)["Ready"] == "True"
    assert conditions(status)["x.io/ok"] == "True"


def test_a_crash_loop_says_how_long() -> None:
    notes = PodNotes(restart_delay_s={"a": 80.0})
    status = check(pod("a"), on_node(ended("a", 3)), notes)
    (container,) = status["containerStatuses"]
    waiting = container["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    assert waiting["message"] == ("back-off 1m20s restarting failed container=a pod=p_default(u)")
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert status["phase"] == "Running"


def test_between_two_lives_the_end_is_shown() -> None:
    (container,) = check(pod("a"), on_node(ended("a", 0)))["containerStatuses"]
    assert container["state"]["terminated"]["reason"] == "Completed"
    containers = on_node(ended("a", 1, 0), running("a", 1))
    (container,) = check(pod("a"), containers)["containerStatuses"]
    assert container["restartCount"] == 1
    assert container["lastState"]["terminated"]["reason"] == "Error"


def test_last_words_and_the_runtimes_reason_are_shown() -> None:
    oom = replace(ended("a", 137), reason="OOMKilled")
    notes = PodNotes(termination_messages={"a-0": "bye"})
    (container,) = check(pod("a"), on_node(oom), notes)["containerStatuses"]
    shown = container["state"]["terminated"]
    assert (shown["reason"], shown["message"]) == ("OOMKilled", "bye")


def test_a_failed_start_is_shown_as_waiting() -> None:
    notes = PodNotes(waiting={"a": Waiting("ErrImagePull", "no such image")})
    (container,) = check(pod("a"), on_node(), notes)["containerStatuses"]
    assert container["state"]["waiting"] == {"reason": "ErrImagePull", "message": "no such image"}


def test_conditions_keep_their_time_until_they_change() -> None:
    spec = pod("a")
    spec["status"] = {
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            {
                "type": "Initialized",
                "status": "False",
                "lastTransitionTime": "2020-01-01T00:00:00Z",
            },
        ]
    }
    times = {
        c["type"]: c["lastTransitionTime"] for c in check(spec, on_node(running("a")))["conditions"]
    }
    assert times["Ready"] == "2020-01-01T00:00:00Z"
    assert times["Initialized"] == "1970-01-12T13:46:40Z"


def test_the_kubelets_own_failure_is_said() -> None:
    notes = PodNotes(failure=("DeadlineExceeded", "too long"))
    status = check(pod("a"), on_node(ended("a", 137)), notes)
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_lost_container_is_unknown_and_counts_on() -> None:
    spec = pod("a")
    posted = {"name": "a", "containerID": "containerd://gone", "restartCount": 2, "state": {}}
    spec["status"] = {"containerStatuses": [posted]}
    (container,) = check(spec, on_node())["containerStatuses"]
    assert container["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert container["restartCount"] == 2
