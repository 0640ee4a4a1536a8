"""One step of a Deployment: which ReplicaSets to create, change and delete, and the status.

A plan is one step of a rollout, made from what the cache shows. Carrying it out changes what the
cache shows, which brings the next step; no step relies on the one before having been taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from orchestrator.api.json_object import JsonObject
from orchestrator.client.conditions import find_condition, set_condition
from orchestrator.controllers.deployment_history import (
    REVISION,
    find_new,
    make_new_set,
    next_revision,
    old_sets,
    resized,
    revision_of,
    surplus_history,
    updated_new_set,
)
from orchestrator.controllers.deployment_scaling import (
    Sizes,
    bounds_of,
    is_scaling,
    new_set_size,
    old_set_sizes,
    scale_sizes,
    size,
)
from orchestrator.controllers.deployment_status import (
    DEADLINE_EXCEEDED,
    deadline_in_s,
    is_complete,
    plan_status,
    progressing,
)

PAUSED: Final = "DeploymentPaused"
RESUMED: Final = "DeploymentResumed"


@dataclass(slots=True)
class DeploymentPlan:
    """Changes to make, in the order of the fields."""

    create: JsonObject | None = None
    """The ReplicaSet of the current template. Its name may be taken: see `make_new_set`."""
    update: list[JsonObject] = field(default_factory=list)
    """ReplicaSets with other annotations or sizes than they have."""
    scaled: list[tuple[str, int, int]] = field(default_factory=list)
    """Name, old and new size of each set that changes size: for events."""
    delete: Sequence[JsonObject] = ()
    """History beyond its limit."""
    revision: str = ""
    """The Deployment's revision annotation; empty leaves it as it is."""
    status: JsonObject = field(default_factory=dict)
    look_again_s: float | None = None
    """When the progress deadline could be exceeded."""


def plan_deployment(
    deployment: JsonObject,
    replica_sets: Sequence[JsonObject],
    old_pods_left: bool,
    now: datetime,
) -> DeploymentPlan:
    """Plan the next step for a Deployment from the sets that it controls.

    `old_pods_left` says whether pods of other than the newest template still run or terminate;
    only Recreate asks.
    """
    new = find_new(deployment, replica_sets)
    old = old_sets(replica_sets, new)
    plan = DeploymentPlan()
    if "deletionTimestamp" in deployment["metadata"]:
        plan.status = plan_status(deployment, replica_sets, new, now, scaling=True)
        return plan
    paused = bool(deployment["spec"].get("paused"))
    scaling = paused or is_scaling(deployment, replica_sets)
    if scaling:
        _apply_sizes(plan, deployment, replica_sets, scale_sizes(deployment, new, old))
    elif _is_recreate(deployment):
        _recreate(plan, deployment, new, old, old_pods_left)
    else:
        _roll(plan, deployment, new, old)
    plan.status = plan_status(deployment, replica_sets, new, now, scaling=scaling)
    _note_steps(plan, deployment, new, paused, now)
    if is_complete(deployment, plan.status) or paused:
        plan.delete = surplus_history(deployment, old)
    plan.look_again_s = None if paused else deadline_in_s(deployment, plan.status, now)
    return plan


def _roll(
    plan: DeploymentPlan, deployment: JsonObject, new: JsonObject | None, old: list[JsonObject]
) -> None:
    """RollingUpdate: grow the new set as far as the surge allows, else shrink the old ones."""
    bounds = bounds_of(deployment)
    wanted = new_set_size(bounds, new, old)
    if new is None:
        _create(plan, deployment, old, wanted)
        return
    _keep(plan, deployment, new, old, wanted)
    if wanted == size(new):
        _apply_sizes(plan, deployment, old, old_set_sizes(bounds, new, old))


def _recreate(
    plan: DeploymentPlan,
    deployment: JsonObject,
    new: JsonObject | None,
    old: list[JsonObject],
    old_pods_left: bool,
) -> None:
    """Recreate: all old pods go before the first new one comes."""
    running = {rs["metadata"]["name"]: 0 for rs in old if size(rs) > 0}
    wanted = deployment["spec"].get("replicas", 1)
    if running or old_pods_left:
        _apply_sizes(plan, deployment, old, running)
    elif new is None:
        _create(plan, deployment, old, wanted)
    else:
        _keep(plan, deployment, new, old, wanted)


def _create(
    plan: DeploymentPlan, deployment: JsonObject, old: list[JsonObject], replicas: int
) -> None:
    revision = next_revision(old)
    plan.create = make_new_set(deployment, revision, replicas)
    plan.scaled.append((plan.create["metadata"]["name"], 0, replicas))
    plan.revision = str(revision)


def _keep(
    plan: DeploymentPlan,
    deployment: JsonObject,
    new: JsonObject,
    old: list[JsonObject],
    replicas: int,
) -> None:
    """Bring the existing new set's annotations, revision and size up to date in one write."""
    updated = updated_new_set(deployment, new, next_revision(old))
    updated = resized(deployment, updated, replicas)
    if updated is not new:
        plan.update.append(updated)
    if replicas != size(new):
        plan.scaled.append((new["metadata"]["name"], size(new), replicas))
    plan.revision = str(revision_of(updated))


def _apply_sizes(
    plan: DeploymentPlan,
    deployment: JsonObject,
    replica_sets: Sequence[JsonObject],
    sizes: Sizes,
) -> None:
    """Resize the named sets; active ones also note the Deployment's size as annotations."""
    for replica_set in replica_sets:
        name = replica_set["metadata"]["name"]
        replicas = sizes.get(name, size(replica_set))
        if name not in sizes and size(replica_set) == 0:
            continue
        updated = resized(deployment, replica_set, replicas)
        if updated is not replica_set:
            plan.update.append(updated)
        if replicas != size(replica_set):
            plan.scaled.append((name, size(replica_set), replicas))


def _note_steps(
    plan: DeploymentPlan,
    deployment: JsonObject,
    new: JsonObject | None,
    paused: bool,
    now: datetime,
) -> None:
    """Tell in the Progressing condition of a pause, and of a set that was created or found."""
    if deployment["spec"].get("progressDeadlineSeconds", 600) == 2**31 - 1:
        return
    conditions = plan.status.setdefault("conditions", [])
    current = find_condition(deployment, "Progressing")
    reason = None if current is None else current.get("reason")
    if paused:
        if reason not in (PAUSED, DEADLINE_EXCEEDED):
            set_condition(conditions, progressing("Unknown", PAUSED, "Deployment is paused", now))
        return
    if reason == PAUSED:
        set_condition(conditions, progressing("Unknown", RESUMED, "Deployment is resumed", now))
    if plan.create is not None:
        message = f'Created new replica set "{plan.create["metadata"]["name"]}"'
        set_condition(conditions, progressing("True", "NewReplicaSetCreated", message, now))
    elif new is not None and current is None:
        message = f'Found new replica set "{new["metadata"]["name"]}"'
        # A status that already says more, such as complete, is left alone.
        if find_condition({"status": plan.status}, "Progressing") is None:
            set_condition(conditions, progressing("True", "FoundNewReplicaSet", message, now))


def _is_recreate(deployment: JsonObject) -> bool:
    return bool((deployment["spec"].get("strategy") or {}).get("type") == "Recreate")


def with_revision(deployment: JsonObject, revision: str) -> JsonObject:
    """Return the Deployment with this revision annotation; the same object where it has it."""
    annotations = deployment["metadata"].get("annotations") or {}
    if not revision or annotations.get(REVISION) == revision:
        return deployment
    return {
        **deployment,
        "metadata": {**deployment["metadata"], "annotations": {**annotations, REVISION: revision}},
    }
