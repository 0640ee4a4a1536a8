"""What a node's silence means: its conditions and its taints."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.times import format_time
from orchestrator.client.conditions import find_condition

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"

_PRESSURE_TAINTS: Final = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_HEARTBEAT_CONDITIONS: Final = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_MANAGED_TAINTS: Final = frozenset(
    {
        (NOT_READY, "NoSchedule"),
        (NOT_READY, "NoExecute"),
        (UNREACHABLE, "NoSchedule"),
        (UNREACHABLE, "NoExecute"),
        (UNSCHEDULABLE, "NoSchedule"),
        *((key, "NoSchedule") for key in _PRESSURE_TAINTS.values()),
    }
)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life, by our clock: a node's own clock may be wrong."""

    renewed: str
    """The lease's renewTime and the Ready condition's lastHeartbeatTime, compared as text only."""
    seen: datetime
    """When we first saw them."""


def note_heartbeat(
    known: Heartbeat | None, node: JsonObject, lease: JsonObject | None, now: datetime
) -> Heartbeat:
    """Return the heartbeat as of now: a new one if lease or status moved, else the known one."""
    lease_spec = {} if lease is None else lease.get("spec") or {}
    ready = find_condition(node, "Ready") or {}
    renewed = f"{lease_spec.get('renewTime', '')} {ready.get('lastHeartbeatTime', '')}"
    if known is not None and known.renewed == renewed:
        return known
    return Heartbeat(renewed, now)


def is_silent(heartbeat: Heartbeat, grace_period_s: float, now: datetime) -> bool:
    """Say whether the node has been silent for longer than the grace period."""
    return now - heartbeat.seen > timedelta(seconds=grace_period_s)


def unknown_conditions(node: JsonObject, now: datetime) -> list[JsonObject] | None:
    """Return the conditions of a silent node, all heartbeat ones Unknown; None if they are."""
    conditions: list[JsonObject] = copy_json((node.get("status") or {}).get("conditions") or [])
    changed = False
    for condition_type in _HEARTBEAT_CONDITIONS:
        current = next((c for c in conditions if c["type"] == condition_type), None)
        if current is None:
            current = {
                "type": condition_type,
                "lastHeartbeatTime": node["metadata"].get("creationTimestamp"),
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
            }
            conditions.append(current)
        elif current["status"] == "Unknown":
            continue
        else:
            current["reason"] = "NodeStatusUnknown"
            current["message"] = "Kubelet stopped posting node status."
        current["status"] = "Unknown"
        current["lastTransitionTime"] = format_time(now)
        changed = True
    return conditions if changed else None


def plan_taints(node: JsonObject, now: datetime, any_alive: bool = True) -> list[JsonObject] | None:
    """Return the taints that the node's conditions ask for; None if it has them.

    Taints of others are kept, and so is the time at which one of ours was added. Where no node at
    all is alive, a silent one is not tainted NoExecute: it is likelier that we are cut off, and
    there is nowhere for its pods to go.
    """
    spec = node.get("spec") or {}
    current: Sequence[JsonObject] = spec.get("taints") or ()
    wanted = _wanted_taints(node, any_alive)
    kept = [taint for taint in current if _is_wanted(taint, wanted)]
    present = {(taint["key"], taint["effect"]) for taint in kept}
    missing = [
        {"key": key, "effect": effect, "timeAdded": format_time(now)}
        for key, effect in wanted
        if (key, effect) not in present
    ]
    if not missing and len(kept) == len(current):
        return None
    return [*kept, *missing]


def _wanted_taints(node: JsonObject, any_alive: bool) -> list[tuple[str, str]]:
    wanted = []
    if (node.get("spec") or {}).get("unschedulable"):
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    ready = find_condition(node, "Ready")
    status = "Unknown" if ready is None else ready["status"]
    # A node that has just registered is tainted not-ready until its kubelet says otherwise.
    key = {"False": NOT_READY, "Unknown": NOT_READY if ready is None else UNREACHABLE}.get(status)
    if key is not None:
        wanted.append((key, "NoSchedule"))
        if any_alive or key != UNREACHABLE:
            wanted.append((key, "NoExecute"))
    for condition_type, key in _PRESSURE_TAINTS.items():
        condition = find_condition(node, condition_type)
        if condition is not None and condition["status"] == "True":
            wanted.append((key, "NoSchedule"))
    return wanted


def _is_wanted(taint: JsonObject, wanted: Sequence[tuple[str, str]]) -> bool:
    identity = (taint["key"], taint["effect"])
    return identity not in _MANAGED_TAINTS or identity in wanted
