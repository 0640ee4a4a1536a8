"""Compute a pod's status from its spec, the runtime's containers and the worker's notes.

Pure: the same input gives the same status, so that a status is posted only when something has
changed. Rules and words are upstream's (kubelet `getPhase`, `convertStatusToAPIStatus`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.api.json_object import JsonObject, nested_list
from orchestrator.api.times import format_time
from orchestrator.kubelet.pod_view import (
    TERMINAL_PHASES,
    PodContainers,
    PodNotes,
    api_container_status,
    containers_of,
    init_containers_of,
    is_deleted,
    is_sidecar,
    restart_policy,
    should_restart,
)
from orchestrator.runtime.protocol import ContainerState, ContainerStatus

OWN_CONDITIONS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
)
"""Conditions that a kubelet writes; all others belong to somebody else and are kept."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What a status says about the node."""

    host_ip: str
    runtime_name: str


def compute_pod_status(
    pod: JsonObject,
    containers: PodContainers,
    notes: PodNotes,
    node: NodeIdentity,
    now: datetime,
) -> JsonObject:
    """Return the pod's status. `now` dates conditions that change, and the first start."""
    old: JsonObject = pod.get("status") or {}
    seconds = now.timestamp()
    mains = [
        _container_status(pod, c, containers, notes, node, seconds, init=False)
        for c in containers_of(pod)
    ]
    inits = [
        _container_status(pod, c, containers, notes, node, seconds, init=True)
        for c in init_containers_of(pod)
    ]
    phase = _phase(pod, inits, mains, notes)
    status: JsonObject = {
        "phase": phase,
        "startTime": old.get("startTime") or format_time(now),
        "hostIP": node.host_ip,
        "hostIPs": [{"ip": node.host_ip}],
        "containerStatuses": mains,
    }
    if inits:
        status["initContainerStatuses"] = inits
    if "qosClass" in old:
        status["qosClass"] = old["qosClass"]
    if (generation := pod["metadata"].get("generation")) is not None:
        status["observedGeneration"] = generation
    if ip := _pod_ip(pod, containers, node):
        status["podIP"] = ip
        status["podIPs"] = [{"ip": ip}]
    if notes.failure is not None:
        status["reason"], status["message"] = notes.failure
    elif phase in TERMINAL_PHASES:
        status |= {key: old[key] for key in ("reason", "message") if old.get(key)}
    status["conditions"] = _conditions(pod, status, containers, now)
    return status


def _pod_ip(pod: JsonObject, containers: PodContainers, node: NodeIdentity) -> str:
    sandbox = containers.sandbox
    if pod["spec"].get("hostNetwork"):
        return node.host_ip if sandbox is not None else ""
    if sandbox is not None and sandbox.ip:
        return sandbox.ip
    kept: str = (pod.get("status") or {}).get("podIP") or ""
    return kept


def _container_status(
    pod: JsonObject,
    container: JsonObject,
    containers: PodContainers,
    notes: PodNotes,
    node: NodeIdentity,
    now: float,
    *,
    init: bool,
) -> JsonObject:
    name = container["name"]
    history = containers.history(name)
    if not history:
        return _status_without_container(pod, container, notes)
    latest = history[0]
    running = latest.state is ContainerState.RUNNING
    status: JsonObject = {
        "name": name,
        "image": latest.image or container.get("image", ""),
        "imageID": latest.image_ref,
        "containerID": f"{node.runtime_name}://{latest.id}",
        "restartCount": latest.attempt,
        "started": running and latest.id in notes.probes.started,
        "ready": running and latest.id in notes.probes.ready,
        "state": {},
        "lastState": {},
    }
    if init and not is_sidecar(container):
        status["started"] = running
        status["ready"] = latest.state is ContainerState.EXITED and latest.exit_code == 0
    if len(history) > 1:
        status["lastState"] = _terminated(history[1], notes, node)
    match latest.state:
        case ContainerState.RUNNING:
            status["state"] = {"running": {"startedAt": _time(latest.started_at_ns)}}
        case ContainerState.EXITED:
            again = should_restart(pod, container, latest.exit_code, init) and not is_deleted(pod)
            waiting = _waiting_to_restart(pod, name, latest, notes, now) if again else None
            ended = _terminated(latest, notes, node)
            if waiting is None:
                status["state"] = ended
            else:
                status["state"] = {"waiting": waiting}
                status["lastState"] = ended
        case _:
            status["state"] = {"waiting": _waiting(name, notes, "ContainerCreating")}
    return status


def _status_without_container(
    pod: JsonObject, container: JsonObject, notes: PodNotes
) -> JsonObject:
    name = container["name"]
    posted = api_container_status(pod, name)
    if posted.get("containerID"):
        return _lost(pod, posted)
    reason = "PodInitializing" if init_containers_of(pod) else "ContainerCreating"
    return {
        "name": name,
        "image": container.get("image", ""),
        "imageID": "",
        "restartCount": 0,
        "ready": False,
        "started": False,
        "state": {"waiting": _waiting(name, notes, reason)},
        "lastState": {},
    }


def _lost(pod: JsonObject, posted: JsonObject) -> JsonObject:
    """The API knows a container that the runtime does not: it ended while nobody looked."""
    if "terminated" in posted.get("state", {}):
        return posted
    unknown = {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
        "containerID": posted["containerID"],
    }
    over = (pod.get("status") or {}).get("phase") in TERMINAL_PHASES or is_deleted(pod)
    state = {"terminated": unknown} if over else {"waiting": {"reason": "ContainerCreating"}}
    last = {} if over else {"terminated": unknown}
    return posted | {"ready": False, "started": False, "state": state, "lastState": last}


def _waiting(name: str, notes: PodNotes, reason: str) -> JsonObject:
    waiting = notes.waiting.get(name) or notes.waiting.get("")
    if waiting is None:
        return {"reason": reason}
    return {"reason": waiting.reason} | ({"message": waiting.message} if waiting.message else {})


def _waiting_to_restart(
    pod: JsonObject, name: str, latest: ContainerStatus, notes: PodNotes, now: float
) -> JsonObject | None:
    if name in notes.waiting:
        return _waiting(name, notes, "")
    delay_s = notes.restart_delay_s.get(name, 0.0)
    if latest.finished_at_ns / 1e9 + delay_s <= now:
        return None
    metadata = pod["metadata"]
    where = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
    text = f"back-off {_go_duration(delay_s)} restarting failed container={name} pod={where}"
    return {"reason": "CrashLoopBackOff", "message": text}


def _go_duration(seconds: float) -> str:
    """Write whole seconds as Go does: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _terminated(container: ContainerStatus, notes: PodNotes, node: NodeIdentity) -> JsonObject:
    reason = container.reason or ("Error" if container.exit_code else "Completed")
    ended: JsonObject = {
        "exitCode": container.exit_code,
        "reason": reason,
        "containerID": f"{node.runtime_name}://{container.id}",
        "startedAt": _time(container.started_at_ns),
        "finishedAt": _time(container.finished_at_ns),
    }
    if message := notes.termination_messages.get(container.id) or container.message:
        ended["message"] = message
    return {"terminated": ended}


def _time(nanoseconds: int) -> str | None:
    if not nanoseconds:
        return None
    return format_time(datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC))


def _phase(
    pod: JsonObject, inits: list[JsonObject], mains: list[JsonObject], notes: PodNotes
) -> str:
    """Return the phase; a terminal one is never left."""
    old = (pod.get("status") or {}).get("phase")
    if old in TERMINAL_PHASES:
        return str(old)
    if notes.failure is not None:
        return "Failed"
    policy = restart_policy(pod)
    initialized = _initialized(pod, inits)
    for container, status in zip(init_containers_of(pod), inits, strict=True):
        failed = _ended(status).get("exitCode", 0) != 0 and not is_sidecar(container)
        if failed and policy == "Never" and not initialized:
            return "Failed"
    states = [_state_of(status) for status in mains]
    ended = [_ended(status).get("exitCode", 0) for status in mains if _ended(status)]
    if is_deleted(pod) and "running" not in states:
        # The last word about a deleted pod: what has not run counts as failed.
        return "Succeeded" if len(ended) == len(mains) and not any(ended) else "Failed"
    if not initialized or "waiting" in states:
        return "Pending"
    if "running" in states:
        return "Running"
    if policy == "Always":
        return "Running"
    if not any(ended):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _state_of(status: JsonObject) -> str:
    """Name the state as `getPhase` counts it: waiting after a first run counts as stopped."""
    if "waiting" in status["state"] and "terminated" in status["lastState"]:
        return "stopped"
    return next(iter(status["state"]), "waiting")


def _ended(status: JsonObject) -> JsonObject:
    found = status["state"].get("terminated")
    if found is None and "waiting" in status["state"]:
        found = status["lastState"].get("terminated")
    return found or {}


def _initialized(pod: JsonObject, inits: list[JsonObject]) -> bool:
    return not _incomplete(pod, inits)


def _incomplete(pod: JsonObject, inits: list[JsonObject]) -> list[str]:
    """Name the init containers that the main ones still wait for."""
    waiting = []
    for container, status in zip(init_containers_of(pod), inits, strict=True):
        if is_sidecar(container):
            complete = bool(status.get("started")) or status["restartCount"] > 0
        else:
            ended = status["state"].get("terminated")
            complete = ended is not None and ended["exitCode"] == 0
        if not complete:
            waiting.append(str(container["name"]))
    return waiting


def _conditions(
    pod: JsonObject, status: JsonObject, containers: PodContainers, now: datetime
) -> list[JsonObject]:
    old = {c["type"]: c for c in nested_list(pod, "status", "conditions")}
    sandbox = containers.sandbox
    network = sandbox is not None and sandbox.ready
    wanted: list[tuple[str, bool, str, str]] = [
        ("PodReadyToStartContainers", network, "", ""),
        ("Initialized", *_initialized_condition(pod, status)),
        ("Ready", *_ready_condition(pod, status, old)),
        ("ContainersReady", *_containers_ready(pod, status)),
        ("PodScheduled", True, "", ""),
    ]
    conditions = []
    for kind, is_true, reason, message in wanted:
        condition: JsonObject = {
            "type": kind,
            "status": "True" if is_true else "False",
            "lastProbeTime": None,
        }
        if (generation := status.get("observedGeneration")) is not None:
            condition["observedGeneration"] = generation
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        before = old.get(kind, {})
        unchanged = before.get("status") == condition["status"]
        stamp = before.get("lastTransitionTime") if unchanged else None
        condition["lastTransitionTime"] = stamp or format_time(now)
        conditions.append(condition)
    return conditions + [c for kind, c in old.items() if kind not in OWN_CONDITIONS]


def _initialized_condition(pod: JsonObject, status: JsonObject) -> tuple[bool, str, str]:
    if status["phase"] == "Succeeded":
        return True, "PodCompleted", ""
    missing = _incomplete(pod, status.get("initContainerStatuses", []))
    if missing:
        text = f"containers with incomplete status: [{' '.join(missing)}]"
        return False, "ContainersNotInitialized", text
    return True, "", ""


def _containers_ready(pod: JsonObject, status: JsonObject) -> tuple[bool, str, str]:
    if status["phase"] == "Succeeded":
        return False, "PodCompleted", ""
    if status["phase"] == "Failed":
        return False, "PodFailed", ""
    sidecars = {c["name"] for c in init_containers_of(pod) if is_sidecar(c)}
    counted = [s for s in status.get("initContainerStatuses", []) if s["name"] in sidecars]
    counted += status["containerStatuses"]
    unready = [s["name"] for s in counted if not s["ready"]]
    if unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        return False, "ContainersNotReady", text
    return True, "", ""


def _ready_condition(
    pod: JsonObject, status: JsonObject, old: Mapping[str, JsonObject]
) -> tuple[bool, str, str]:
    ready, reason, message = _containers_ready(pod, status)
    if not ready:
        return ready, reason, message
    for gate in nested_list(pod, "spec", "readinessGates"):
        kind = gate["conditionType"]
        if old.get(kind, {}).get("status") != "True":
            known = "is not" if kind in old else "does not exist, is not"
            text = f'the status of pod readiness gate "{kind}" {known} "True"'
            return False, "ReadinessGatesNotReady", text
    return True, "", ""
