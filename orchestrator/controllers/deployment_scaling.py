"""How a Deployment divides its replicas among its ReplicaSets.

Two bounds hold at every step: never more than replicas + surge pods in all, and never fewer than
replicas - unavailable available ones by our doing. Functions here take sets and return sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.api.int_or_string import scaled_value
from orchestrator.api.json_object import JsonObject

DESIRED_REPLICAS: Final = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS: Final = "deployment.kubernetes.io/max-replicas"

Sizes = dict[str, int]
"""New spec.replicas by ReplicaSet name; sets whose size stays are left out."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The strategy's numbers, resolved for the current replicas."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def total_max(self) -> int:
        """Pods of all sets together."""
        return self.replicas + self.surge

    @property
    def available_min(self) -> int:
        """Available pods of all sets together."""
        return self.replicas - self.unavailable


def bounds_of(deployment: JsonObject) -> Bounds:
    """Resolve the strategy: surge rounds up, unavailable down, and both may not be 0."""
    spec = deployment["spec"]
    replicas = spec.get("replicas", 1)
    strategy = spec.get("strategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return Bounds(replicas, 0, 0)
    rolling = strategy.get("rollingUpdate") or {}
    surge = scaled_value(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = scaled_value(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    if not surge and not unavailable:
        unavailable = 1
    return Bounds(replicas, surge, min(unavailable, replicas))


def size(replica_set: JsonObject) -> int:
    """Return spec.replicas."""
    replicas: int = replica_set["spec"].get("replicas", 1)
    return replicas


def available(replica_set: JsonObject) -> int:
    """Return how many pods of the set are available and will stay.

    The status may be older than a scale-down: pods above spec.replicas are about to go.
    """
    count: int = (replica_set.get("status") or {}).get("availableReplicas", 0)
    return min(count, size(replica_set))


def new_set_size(bounds: Bounds, new: JsonObject | None, old: Sequence[JsonObject]) -> int:
    """Return the size the newest set should have now; for one not created yet pass None.

    Growing stops at the surge; shrinking, after the Deployment shrank, is immediate.
    """
    current = 0 if new is None else size(new)
    if current >= bounds.replicas:
        return bounds.replicas
    room = bounds.total_max - current - sum(map(size, old))
    if room <= 0:
        return current
    return current + min(room, bounds.replicas - current)


def old_set_sizes(bounds: Bounds, new: JsonObject, old: Sequence[JsonObject]) -> Sizes:
    """Shrink old sets as far as availability allows: unhealthy pods first, then the oldest set.

    Pods of the new set that are not available yet count as missing, so that a broken new template
    stops the rollout instead of draining what works.
    """
    old = sorted(old, key=_by_age)
    total = size(new) + sum(map(size, old))
    new_unavailable = max(0, size(new) - available(new))
    removable = total - bounds.available_min - new_unavailable
    if removable <= 0:
        return {}
    sizes = {replica_set["metadata"]["name"]: size(replica_set) for replica_set in old}
    for replica_set in old:
        unhealthy = min(removable, max(0, size(replica_set) - available(replica_set)))
        sizes[replica_set["metadata"]["name"]] -= unhealthy
        removable -= unhealthy
    spare = available(new) + sum(map(available, old)) - bounds.available_min
    for replica_set in old:
        name = replica_set["metadata"]["name"]
        removed = max(0, min(spare, sizes[name]))
        sizes[name] -= removed
        spare -= removed
    return {
        replica_set["metadata"]["name"]: sizes[replica_set["metadata"]["name"]]
        for replica_set in old
        if sizes[replica_set["metadata"]["name"]] != size(replica_set)
    }


def is_scaling(deployment: JsonObject, replica_sets: Sequence[JsonObject]) -> bool:
    """Say whether spec.replicas changed since the active sets were last sized."""
    desired = deployment["spec"].get("replicas", 1)
    return any(
        (annotated := _annotated(replica_set, DESIRED_REPLICAS)) is not None
        and annotated != desired
        for replica_set in replica_sets
        if size(replica_set) > 0
    )


def scale_sizes(deployment: JsonObject, new: JsonObject | None, old: Sequence[JsonObject]) -> Sizes:
    """Follow a change of spec.replicas: one active set takes it all, several take their shares.

    When the new set is complete, what is left of old ones goes to 0.
    """
    bounds = bounds_of(deployment)
    every = [*old, *([] if new is None else [new])]
    active = [replica_set for replica_set in every if size(replica_set) > 0]
    if len(active) <= 1:
        only = active[0] if active else (new or max(old, key=_by_age, default=None))
        if only is None or size(only) == bounds.replicas:
            return {}
        return {only["metadata"]["name"]: bounds.replicas}
    if new is not None and _is_saturated(bounds, new):
        return {rs["metadata"]["name"]: 0 for rs in old if size(rs) > 0}
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return {}
    return _proportional_sizes(deployment, bounds, active)


def _is_saturated(bounds: Bounds, new: JsonObject) -> bool:
    return (
        size(new) == bounds.replicas
        and _annotated(new, DESIRED_REPLICAS) == bounds.replicas
        and available(new) == bounds.replicas
    )


def _proportional_sizes(
    deployment: JsonObject, bounds: Bounds, active: Sequence[JsonObject]
) -> Sizes:
    """Share the difference to the allowed total in proportion to the sets' sizes.

    Larger sets first; among equals newer ones grow first and older ones shrink first. What
    rounding leaves over goes to the first.
    """
    allowed = bounds.total_max if bounds.replicas > 0 else 0
    to_add = allowed - sum(map(size, active))
    ordered = sorted(active, key=_by_age, reverse=to_add > 0)
    ordered.sort(key=size, reverse=True)
    added = 0
    sizes: Sizes = {}
    for replica_set in ordered:
        share = 0
        if to_add and to_add != added:
            fraction = _fraction(deployment, bounds, replica_set)
            left = to_add - added
            share = min(fraction, left) if to_add > 0 else max(fraction, left)
        sizes[replica_set["metadata"]["name"]] = size(replica_set) + share
        added += share
    first = ordered[0]["metadata"]["name"]
    sizes[first] = max(0, sizes[first] + to_add - added)
    return {
        rs["metadata"]["name"]: sizes[rs["metadata"]["name"]]
        for rs in ordered
        if sizes[rs["metadata"]["name"]] != size(rs)
    }


def _fraction(deployment: JsonObject, bounds: Bounds, replica_set: JsonObject) -> int:
    """Return by how much this set should change, seen alone."""
    current = size(replica_set)
    if bounds.replicas == 0:
        return -current
    sized_for = _annotated(replica_set, MAX_REPLICAS)
    if sized_for is None:
        sized_for = (deployment.get("status") or {}).get("replicas", 0)
    if not sized_for:
        return 0
    # Round half away from zero in whole numbers.
    return (2 * current * bounds.total_max + sized_for) // (2 * sized_for) - current


def _annotated(replica_set: JsonObject, name: str) -> int | None:
    text = (replica_set["metadata"].get("annotations") or {}).get(name)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _by_age(replica_set: JsonObject) -> tuple[str, str]:
    """Sort oldest first; the name decides among those of one second."""
    metadata = replica_set["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["name"]
