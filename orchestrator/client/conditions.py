"""Lists of status conditions: find one, set one, keep its transition time."""

from datetime import datetime
from typing import Any

from orchestrator.api.json_object import JsonObject
from orchestrator.api.times import format_time


def find_condition(obj: JsonObject, condition_type: str) -> JsonObject | None:
    """Return the object's status condition of this type, or None."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition["type"] == condition_type:
            found: JsonObject = condition
            return found
    return None


def condition_is(obj: JsonObject, condition_type: str, status: str = "True") -> bool:
    """Say whether the condition is there and has this status."""
    condition = find_condition(obj, condition_type)
    return condition is not None and condition["status"] == status


def make_condition(
    condition_type: str, status: str, reason: str, message: str, now: datetime, **more: Any
) -> JsonObject:
    """Make a condition that changed now."""
    return {
        "type": condition_type,
        "status": status,
        "lastTransitionTime": format_time(now),
        "reason": reason,
        "message": message,
        **more,
    }


def set_condition(conditions: list[JsonObject], new: JsonObject) -> None:
    """Put the condition in the place of the one of its type, in this list.

    The transition time stays where the status is the same. Where the reason is the same too,
    nothing is changed, so that writing the same state again is no write.
    """
    for position, old in enumerate(conditions):
        if old["type"] != new["type"]:
            continue
        if old["status"] == new["status"]:
            if old.get("reason") == new.get("reason") and old.get("message") == new.get("message"):
                return
            new = {**new, "lastTransitionTime": old.get("lastTransitionTime")}
        conditions[position] = new
        return
    conditions.append(new)


def remove_condition(conditions: list[JsonObject], condition_type: str) -> None:
    """Drop the condition of this type from this list, if it is there."""
    conditions[:] = [c for c in conditions if c["type"] != condition_type]
