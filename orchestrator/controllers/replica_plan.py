"""What a ReplicaSet or ReplicationController should do about its pods."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.client.conditions import make_condition, remove_condition, set_condition
from orchestrator.controllers.owner_reference import controller_of
from orchestrator.controllers.pod_state import (
    is_active,
    is_available,
    is_ready,
    is_terminating,
    node_name,
    phase,
)

BURST_MAX: Final = 500
"""Pods created or deleted for one owner before its cache is looked at again."""
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"

_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True, slots=True)
class Claims:
    """Which pods are the owner's, and how ownership has to change."""

    owned: Sequence[JsonObject]
    adopt: Sequence[JsonObject]
    """Orphans that match the selector."""
    release: Sequence[JsonObject]
    """Pods of this owner that no longer match."""


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """At most one of the two is not empty; neither exceeds BURST_MAX."""

    create: int
    delete: Sequence[JsonObject]


def plan_claims(
    owner: JsonObject, pods: Iterable[JsonObject], matches: Callable[[JsonObject], bool]
) -> Claims:
    """Sort pods by ownership; `matches` is the owner's selector on a whole object.

    An owner that is being deleted claims nothing new. Pods of other controllers are left alone.
    """
    uid = owner["metadata"]["uid"]
    leaving = "deletionTimestamp" in owner["metadata"]
    owned: list[JsonObject] = []
    adopt: list[JsonObject] = []
    release: list[JsonObject] = []
    for pod in pods:
        reference = controller_of(pod)
        if reference is not None:
            if reference["uid"] == uid:
                (owned if leaving or matches(pod) else release).append(pod)
        elif not leaving and matches(pod) and not is_terminating(pod):
            adopt.append(pod)
    return Claims(owned, adopt, release)


def plan_replicas(
    desired: int,
    owned: Iterable[JsonObject],
    related_on_node: Callable[[str], int],
    now: datetime,
) -> ReplicaPlan:
    """Say how many pods to create, or which to delete, so that `desired` active ones remain.

    `related_on_node` counts the active pods on a node that belong to the same or a sibling owner.
    """
    active = [pod for pod in owned if is_active(pod)]
    missing = desired - len(active)
    if missing >= 0:
        return ReplicaPlan(min(missing, BURST_MAX), ())
    ranked = sorted(active, key=lambda pod: deletion_rank(pod, related_on_node, now))
    return ReplicaPlan(0, ranked[: min(-missing, BURST_MAX)])


def deletion_rank(
    pod: JsonObject, related_on_node: Callable[[str], int], now: datetime
) -> tuple[object, ...]:
    """Order pods by how little is lost with them; the least is deleted first.

    Unassigned before assigned, Pending before Unknown before Running, not ready before ready, lower
    deletion cost, more siblings on its node, ready for a shorter time, more restarts, younger.
    """
    node = node_name(pod)
    status = pod.get("status") or {}
    restarts = sum(c.get("restartCount", 0) for c in status.get("containerStatuses") or ())
    return (
        bool(node),
        _PHASE_RANK.get(phase(pod), 1),
        is_ready(pod),
        deletion_cost(pod),
        -(related_on_node(node) if node else 0),
        _inverse_time(_ready_time(pod)),
        -restarts,
        _inverse_time(pod["metadata"].get("creationTimestamp", "")),
    )


def deletion_cost(pod: JsonObject) -> int:
    """Return the annotated cost, 0 where it is absent or no number."""
    text = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def _ready_time(pod: JsonObject) -> str:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] == "True":
            return condition.get("lastTransitionTime") or ""
    return ""


def _inverse_time(text: str) -> tuple[int, ...]:
    """Sort RFC 3339 times in UTC and whole seconds latest first; no time counts as latest."""
    return tuple(-ord(character) for character in text) if text else (-0x10FFFF,)


def plan_replica_status(
    owner: JsonObject,
    owned: Iterable[JsonObject],
    failure: Exception | None,
    now: datetime,
) -> JsonObject:
    """Compute the owner's status from its pods; `failure` is what kept the last plan from being
    carried out, None if nothing did."""
    spec = owner["spec"]
    wanted_labels = (spec.get("template") or {}).get("metadata", {}).get("labels") or {}
    min_ready_seconds = spec.get("minReadySeconds") or 0
    replicas = labelled = ready = available = 0
    for pod in owned:
        if not is_active(pod):
            continue
        replicas += 1
        labels = pod["metadata"].get("labels") or {}
        labelled += wanted_labels.items() <= labels.items()
        ready += is_ready(pod)
        available += is_available(pod, min_ready_seconds, now)
    old = owner.get("status") or {}
    conditions = copy_json(old.get("conditions") or [])
    if failure is None:
        remove_condition(conditions, "ReplicaFailure")
    else:
        reason = "FailedCreate" if replicas < (spec.get("replicas") or 0) else "FailedDelete"
        set_condition(
            conditions, make_condition("ReplicaFailure", "True", reason, str(failure), now)
        )
    counts = {
        "fullyLabeledReplicas": labelled,
        "readyReplicas": ready,
        "availableReplicas": available,
        "observedGeneration": owner["metadata"].get("generation", 0),
    }
    status: JsonObject = {"replicas": replicas} | {k: v for k, v in counts.items() if v}
    if conditions:
        status["conditions"] = conditions
    return status
