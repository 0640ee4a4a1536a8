"""Taints of nodes and the pods that tolerate them."""

from collections.abc import Iterable, Sequence

from orchestrator.api.json_object import JsonObject

Tolerations = Sequence[JsonObject]


def tolerates(toleration: JsonObject, taint: JsonObject) -> bool:
    """Say whether one toleration covers one taint.

    An empty effect covers all effects; an empty key with Exists covers all keys.
    """
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    key = toleration.get("key") or ""
    if toleration.get("operator") == "Exists":
        return not key or bool(key == taint["key"])
    return bool(key == taint["key"]) and (toleration.get("value") or "") == (
        taint.get("value") or ""
    )


def untolerated(
    taints: Iterable[JsonObject], tolerations: Tolerations, effects: Sequence[str]
) -> JsonObject | None:
    """Return the first taint with one of the effects that no toleration covers, or None."""
    for taint in taints:
        if taint["effect"] in effects and not any(tolerates(t, taint) for t in tolerations):
            return taint
    return None


def disliked_count(taints: Iterable[JsonObject], tolerations: Tolerations) -> int:
    """Count the PreferNoSchedule taints that no toleration covers."""
    return sum(
        taint["effect"] == "PreferNoSchedule" and not any(tolerates(t, taint) for t in tolerations)
        for taint in taints
    )
