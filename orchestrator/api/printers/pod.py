"""Pods, whose STATUS is worked out from the phase, the containers and the deletion."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.api.json_object import JsonObject, nested, nested_list, nested_object
from orchestrator.api.printers.printer import (
    AGE,
    CONTAINERS,
    NAME,
    NONE,
    Cells,
    Column,
    Printer,
    age_of,
    containers_cells,
    labels_text,
    name_of,
    text,
    text_at,
    wide,
)
from orchestrator.api.times import age

NODE_LOST = "NodeLost"


@dataclass(slots=True)
class _Restarts:
    """Restarts so far, and the latest end of a container."""

    count: int = 0
    last: str = ""

    def add(self, status: JsonObject) -> None:
        self.count += status.get("restartCount") or 0
        # RFC 3339 in UTC compares as text.
        self.last = max(self.last, nested(status, "lastState", "terminated", "finishedAt") or "")


@dataclass(slots=True)
class PodSummary:
    """What the columns say about a pod."""

    reason: str
    ready: int
    total: int
    restarts: int
    last_restart: str


def summarize(pod: JsonObject) -> PodSummary:
    """Work out STATUS, READY and RESTARTS as kubectl's users know them."""
    status = nested_object(pod, "status")
    spec = nested_object(pod, "spec")
    phase = status.get("phase") or ""
    summary = PodSummary(
        status.get("reason") or phase, 0, len(nested_list(spec, "containers")), 0, ""
    )
    if _condition(status, "PodScheduled").get("reason") == "SchedulingGated":
        summary.reason = "SchedulingGated"
    sidecar_restarts, initializing = _init_containers(spec, status, summary)
    if not initializing or _condition(status, "Initialized").get("status") == "True":
        _main_containers(status, summary, sidecar_restarts)
    if nested(pod, "metadata", "deletionTimestamp"):
        if status.get("reason") == NODE_LOST:
            summary.reason = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            summary.reason = "Terminating"
    return summary


def _condition(status: JsonObject, kind: str) -> JsonObject:
    for condition in nested_list(status, "conditions"):
        if condition.get("type") == kind:
            found: JsonObject = condition
            return found
    return {}


def _init_containers(
    spec: JsonObject, status: JsonObject, summary: PodSummary
) -> tuple[_Restarts, bool]:
    """Account for init containers; return the sidecars' restarts and whether one is at work."""
    containers = nested_list(spec, "initContainers")
    sidecars = {row.get("name") for row in containers if row.get("restartPolicy") == "Always"}
    summary.total += len(sidecars)
    all_restarts, sidecar_restarts = _Restarts(), _Restarts()
    initializing = False
    for index, row in enumerate(nested_list(status, "initContainerStatuses")):
        all_restarts.add(row)
        is_sidecar = row.get("name") in sidecars
        if is_sidecar:
            sidecar_restarts.add(row)
        terminated = nested(row, "state", "terminated")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if is_sidecar and row.get("started"):
            summary.ready += bool(row.get("ready"))
            continue
        waiting = nested(row, "state", "waiting", "reason")
        if terminated is not None:
            summary.reason = f"Init:{_terminated_text(terminated)}"
        elif waiting and waiting != "PodInitializing":
            summary.reason = f"Init:{waiting}"
        else:
            summary.reason = f"Init:{index}/{len(containers)}"
        initializing = True
        break
    summary.restarts, summary.last_restart = all_restarts.count, all_restarts.last
    return sidecar_restarts, initializing


def _main_containers(status: JsonObject, summary: PodSummary, restarts: _Restarts) -> None:
    has_running = False
    for row in reversed(nested_list(status, "containerStatuses")):
        restarts.add(row)
        waiting = nested(row, "state", "waiting", "reason")
        terminated = nested(row, "state", "terminated")
        if waiting:
            summary.reason = waiting
        elif terminated is not None:
            summary.reason = _terminated_text(terminated)
        elif row.get("ready") and nested(row, "state", "running") is not None:
            has_running = True
            summary.ready += 1
    if summary.reason == "Completed" and has_running:
        is_ready = _condition(status, "Ready").get("status") == "True"
        summary.reason = "Running" if is_ready else "NotReady"
    summary.restarts, summary.last_restart = restarts.count, restarts.last


def _terminated_text(terminated: JsonObject) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode') or 0}"


def _pod_row(pod: JsonObject, now: datetime) -> Cells:
    summary = summarize(pod)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts += f" ({age(summary.last_restart, now)} ago)"
    return [
        name_of(pod),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        age_of(pod, now),
        text_at(pod, "status", "podIP"),
        text_at(pod, "spec", "nodeName"),
        text_at(pod, "status", "nominatedNodeName"),
        _readiness_gates(pod),
    ]


def _readiness_gates(pod: JsonObject) -> str:
    gates = nested_list(pod, "spec", "readinessGates")
    if not gates:
        return NONE
    status = nested_object(pod, "status")
    true = sum(_condition(status, g.get("conditionType")).get("status") == "True" for g in gates)
    return f"{true}/{len(gates)}"


def _template_row(obj: JsonObject, now: datetime) -> Cells:
    labels = nested(obj, "template", "metadata", "labels")
    return [name_of(obj), *containers_cells(("template", "spec"), obj), labels_text(labels)]


PRINTERS = {
    ("", "Pod"): Printer(
        (
            NAME,
            text("Ready"),
            text("Status"),
            text("Restarts"),
            AGE,
            wide("IP"),
            wide("Node"),
            wide("Nominated Node"),
            wide("Readiness Gates"),
        ),
        _pod_row,
    ),
    ("", "PodTemplate"): Printer(
        (NAME, *(Column(column.name) for column in CONTAINERS), text("Pod Labels")), _template_row
    ),
}
