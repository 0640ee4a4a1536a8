"""A Deployment's status: counts, and the conditions that `kubectl rollout status` waits for."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.times import format_time, parse_time
from orchestrator.client.conditions import (
    find_condition,
    make_condition,
    remove_condition,
    set_condition,
)
from orchestrator.controllers.deployment_scaling import bounds_of

NEW_SET_AVAILABLE: Final = "NewReplicaSetAvailable"
DEADLINE_EXCEEDED: Final = "ProgressDeadlineExceeded"
NO_DEADLINE_S: Final = 2**31 - 1
"""progressDeadlineSeconds that stands for none."""


def plan_status(
    deployment: JsonObject,
    replica_sets: Sequence[JsonObject],
    new: JsonObject | None,
    now: datetime,
    *,
    scaling: bool = False,
) -> JsonObject:
    """Compute the status from the sets' statuses.

    `scaling` marks a pass that followed a change of spec.replicas only, or a paused Deployment:
    progress is then not judged.
    """
    status = _counts(deployment, replica_sets, new)
    conditions = copy_json((deployment.get("status") or {}).get("conditions") or [])
    _set_available(deployment, status, conditions, now)
    if not scaling:
        _set_progressing(deployment, status, conditions, new, now)
        _set_replica_failure(conditions, replica_sets, new, now)
    if conditions:
        status["conditions"] = conditions
    return status


def is_complete(deployment: JsonObject, status: JsonObject) -> bool:
    """Say whether all replicas are of the new template and available, and none is left over."""
    replicas = deployment["spec"].get("replicas", 1)
    return bool(
        status.get("updatedReplicas", 0) == replicas
        and status.get("replicas", 0) == replicas
        and status.get("availableReplicas", 0) == replicas
        and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    )


def deadline_in_s(deployment: JsonObject, status: JsonObject, now: datetime) -> float | None:
    """Return the seconds until a rollout under way exceeds its deadline; None if none is."""
    limit_s = _progress_deadline_s(deployment)
    condition = find_condition({"status": status}, "Progressing")
    if limit_s is None or condition is None or is_complete(deployment, status):
        return None
    if condition.get("reason") in (NEW_SET_AVAILABLE, DEADLINE_EXCEEDED):
        return None
    updated = parse_time(condition.get("lastUpdateTime") or format_time(now))
    return max(0.0, (updated + timedelta(seconds=limit_s) - now).total_seconds()) + 1.0


def progressing(status: str, reason: str, message: str, now: datetime) -> JsonObject:
    """Make a Progressing condition."""
    return make_condition(
        "Progressing", status, reason, message, now, lastUpdateTime=format_time(now)
    )


def _counts(
    deployment: JsonObject, replica_sets: Sequence[JsonObject], new: JsonObject | None
) -> JsonObject:
    def total(field: str) -> int:
        return sum((rs.get("status") or {}).get(field, 0) for rs in replica_sets)

    replicas, available = total("replicas"), total("availableReplicas")
    wanted = sum(rs["spec"].get("replicas", 1) for rs in replica_sets)
    counts = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": replicas,
        "updatedReplicas": 0 if new is None else (new.get("status") or {}).get("replicas", 0),
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
        "collisionCount": (deployment.get("status") or {}).get("collisionCount", 0),
    }
    return {field: count for field, count in counts.items() if count}


def _set_available(
    deployment: JsonObject, status: JsonObject, conditions: list[JsonObject], now: datetime
) -> None:
    if status.get("availableReplicas", 0) >= bounds_of(deployment).available_min:
        told = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        told = (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    condition = make_condition("Available", *told, now, lastUpdateTime=format_time(now))
    set_condition(conditions, condition)


def _set_progressing(
    deployment: JsonObject,
    status: JsonObject,
    conditions: list[JsonObject],
    new: JsonObject | None,
    now: datetime,
) -> None:
    limit_s = _progress_deadline_s(deployment)
    if limit_s is None:
        remove_condition(conditions, "Progressing")
        return
    current = next((c for c in conditions if c["type"] == "Progressing"), None)
    done = current is not None and current.get("reason") == NEW_SET_AVAILABLE
    if done and status.get("replicas", 0) == status.get("updatedReplicas", 0):
        return  # a rollout that succeeded is not judged by what its pods do later
    subject = (
        f'Deployment "{deployment["metadata"]["name"]}"'
        if new is None
        else f'ReplicaSet "{new["metadata"]["name"]}"'
    )
    if is_complete(deployment, status):
        message = f"{subject} has successfully progressed."
        set_condition(conditions, progressing("True", NEW_SET_AVAILABLE, message, now))
    elif _has_progressed(deployment.get("status") or {}, status):
        condition = progressing("True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if current is not None and current["status"] == "True":
            condition["lastTransitionTime"] = current.get("lastTransitionTime")
        # Also with the same reason: the deadline runs from the last sign of progress.
        remove_condition(conditions, "Progressing")
        conditions.append(condition)
    elif _has_timed_out(current, limit_s, now):
        message = f"{subject} has timed out progressing."
        set_condition(conditions, progressing("False", DEADLINE_EXCEEDED, message, now))


def _has_progressed(old: JsonObject, new: JsonObject) -> bool:
    def grew(field: str) -> bool:
        count: int = new.get(field, 0)
        return bool(count > old.get(field, 0))

    def outdated(status: JsonObject) -> int:
        count: int = status.get("replicas", 0) - status.get("updatedReplicas", 0)
        return count

    return bool(
        grew("updatedReplicas")
        or outdated(new) < outdated(old)
        or grew("readyReplicas")
        or grew("availableReplicas")
    )


def _has_timed_out(condition: JsonObject | None, limit_s: int, now: datetime) -> bool:
    if condition is None or condition.get("reason") == NEW_SET_AVAILABLE:
        return False
    if condition.get("reason") == DEADLINE_EXCEEDED:
        return True
    updated = condition.get("lastUpdateTime")
    if not updated:
        return False
    return parse_time(updated) + timedelta(seconds=limit_s) < now


def _set_replica_failure(
    conditions: list[JsonObject],
    replica_sets: Sequence[JsonObject],
    new: JsonObject | None,
    now: datetime,
) -> None:
    """Show the failure of the new set, or else of any set, as the Deployment's own."""
    ordered = ([] if new is None else [new]) + list(replica_sets)
    failures = [f for rs in ordered if (f := find_condition(rs, "ReplicaFailure")) is not None]
    if failures:
        set_condition(conditions, {**failures[0], "lastUpdateTime": format_time(now)})
    else:
        remove_condition(conditions, "ReplicaFailure")


def _progress_deadline_s(deployment: JsonObject) -> int | None:
    limit_s: int = deployment["spec"].get("progressDeadlineSeconds", 600)
    return None if limit_s == NO_DEADLINE_S else limit_s
