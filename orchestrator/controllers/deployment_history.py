"""A Deployment's ReplicaSets as its history: which one is current, which revision each one is."""

from collections.abc import Iterable, Sequence
from typing import Final

from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.controllers.deployment_scaling import (
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    bounds_of,
    size,
)
from orchestrator.controllers.owner_reference import controller_reference
from orchestrator.controllers.template_hash import template_hash

POD_TEMPLATE_HASH: Final = "pod-template-hash"
REVISION: Final = "deployment.kubernetes.io/revision"
REVISION_HISTORY: Final = "deployment.kubernetes.io/revision-history"
NAME_BYTES_MAX: Final = 253
HISTORY_BYTES_MAX: Final = 2000
"""Of the revision-history annotation; the oldest numbers are dropped first."""

_OWN_ANNOTATIONS: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
    }
)
"""Annotations that a Deployment and its ReplicaSets do not share."""


def find_new(deployment: JsonObject, replica_sets: Iterable[JsonObject]) -> JsonObject | None:
    """Return the set whose template is the Deployment's; the oldest, should there be several."""
    wanted = deployment["spec"]["template"]
    same = [rs for rs in replica_sets if _without_hash(rs["spec"]["template"]) == wanted]
    return min(same, key=_age, default=None)


def old_sets(replica_sets: Iterable[JsonObject], new: JsonObject | None) -> list[JsonObject]:
    """Return all sets but the new one."""
    uid = None if new is None else new["metadata"]["uid"]
    return [rs for rs in replica_sets if rs["metadata"]["uid"] != uid]


def revision_of(obj: JsonObject) -> int:
    """Return the annotated revision, 0 where there is none."""
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def next_revision(old: Iterable[JsonObject]) -> int:
    """Return the revision for the newest set: one more than the highest of the others."""
    return max(map(revision_of, old), default=0) + 1


def make_new_set(deployment: JsonObject, revision: int, replicas: int) -> JsonObject:
    """Make the ReplicaSet for the Deployment's template; its name follows from the template."""
    spec = deployment["spec"]
    collisions = (deployment.get("status") or {}).get("collisionCount", 0)
    digest = template_hash(spec["template"], collisions)
    template = copy_json(spec["template"])
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels[POD_TEMPLATE_HASH] = digest
    selector = copy_json(spec["selector"])
    selector.setdefault("matchLabels", {})[POD_TEMPLATE_HASH] = digest
    name = f"{deployment['metadata']['name'][: NAME_BYTES_MAX - len(digest) - 1]}-{digest}"
    replica_set: JsonObject = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": deployment["metadata"]["namespace"],
            "labels": dict(labels),
            "annotations": {},
            "ownerReferences": [controller_reference(deployment)],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }
    if spec.get("minReadySeconds"):
        replica_set["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    annotations = replica_set["metadata"]["annotations"]
    annotations.update(_shared_annotations(deployment))
    annotations[REVISION] = str(revision)
    annotations.update(sizing_annotations(deployment))
    return replica_set


def updated_new_set(deployment: JsonObject, new: JsonObject, revision: int) -> JsonObject:
    """Return `new` with the Deployment's annotations, its revision, and minReadySeconds.

    Returns the same object where nothing differs. A revision never goes down; the one that it
    replaces, after a rollback to an old template, is kept in the revision-history annotation.
    """
    old_annotations = new["metadata"].get("annotations") or {}
    annotations = {**old_annotations, **_shared_annotations(deployment)}
    current = revision_of(new)
    if current < revision:
        annotations[REVISION] = str(revision)
        if current:
            history = [h for h in annotations.get(REVISION_HISTORY, "").split(",") if h]
            history.append(str(current))
            while len(",".join(history)) > HISTORY_BYTES_MAX:
                del history[0]
            annotations[REVISION_HISTORY] = ",".join(history)
    wanted = deployment["spec"].get("minReadySeconds") or 0
    same_wait = (new["spec"].get("minReadySeconds") or 0) == wanted
    if annotations == old_annotations and same_wait:
        return new
    return {
        **new,
        "metadata": {**new["metadata"], "annotations": annotations},
        "spec": {**new["spec"], "minReadySeconds": wanted},
    }


def sizing_annotations(deployment: JsonObject) -> dict[str, str]:
    """Return the annotations that say for which size of the Deployment a set was sized."""
    bounds = bounds_of(deployment)
    return {DESIRED_REPLICAS: str(bounds.replicas), MAX_REPLICAS: str(bounds.total_max)}


def resized(deployment: JsonObject, replica_set: JsonObject, replicas: int) -> JsonObject:
    """Return the set with this size and the sizing annotations; the same object if it has them."""
    old_annotations = replica_set["metadata"].get("annotations") or {}
    annotations = {**old_annotations, **sizing_annotations(deployment)}
    if size(replica_set) == replicas and annotations == old_annotations:
        return replica_set
    return {
        **replica_set,
        "metadata": {**replica_set["metadata"], "annotations": annotations},
        "spec": {**replica_set["spec"], "replicas": replicas},
    }


def surplus_history(deployment: JsonObject, old: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the old sets to delete: empty ones above revisionHistoryLimit, oldest first."""
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    kept = [rs for rs in old if "deletionTimestamp" not in rs["metadata"]]
    kept.sort(key=lambda rs: (revision_of(rs), _age(rs)))
    surplus = kept[: max(0, len(kept) - limit)]
    return [rs for rs in surplus if size(rs) == 0 and _is_drained(rs)]


def same_template(deployment: JsonObject, replica_set: JsonObject) -> bool:
    """Say whether the set is of the Deployment's template."""
    wanted: JsonObject = deployment["spec"]["template"]
    return _without_hash(replica_set["spec"]["template"]) == wanted


def _is_drained(replica_set: JsonObject) -> bool:
    status = replica_set.get("status") or {}
    generation = replica_set["metadata"].get("generation", 0)
    return not status.get("replicas") and status.get("observedGeneration", 0) >= generation


def _without_hash(template: JsonObject) -> JsonObject:
    metadata = template.get("metadata") or {}
    labels = metadata.get("labels") or {}
    if POD_TEMPLATE_HASH not in labels:
        return template
    labels = {name: value for name, value in labels.items() if name != POD_TEMPLATE_HASH}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _shared_annotations(deployment: JsonObject) -> dict[str, str]:
    annotations = deployment["metadata"].get("annotations") or {}
    return {name: text for name, text in annotations.items() if name not in _OWN_ANNOTATIONS}


def _age(replica_set: JsonObject) -> tuple[str, str]:
    metadata = replica_set["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["name"]
