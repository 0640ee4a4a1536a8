"""One pod of a DaemonSet on each node that takes it: what to create and delete, the status."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from orchestrator.api.int_or_string import scaled_value
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.controllers.pod_state import (
    is_active,
    is_available,
    is_ready,
    is_terminating,
    node_name,
    phase,
)
from orchestrator.controllers.pod_template import pod_from_template
from orchestrator.scheduler.framework.node_affinity import matches_node
from orchestrator.scheduler.framework.pod_info import REQUIRED
from orchestrator.scheduler.framework.taints import untolerated

REVISION_HASH: Final = "controller-revision-hash"

DAEMON_TOLERATIONS: Final = tuple(
    {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": effect}
    for what, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)
HOST_NETWORK_TOLERATION: Final = {
    "key": "node.kubernetes.io/network-unavailable",
    "operator": "Exists",
    "effect": "NoSchedule",
}


@dataclass(frozen=True, slots=True)
class Suitability:
    """What a DaemonSet and a node mean to each other."""

    should_run: bool
    """A missing pod is to be created."""
    may_stay: bool
    """A pod that is there is left alone."""


@dataclass(slots=True)
class DaemonPlan:
    """Changes to make, and the status without its observedGeneration and collisionCount."""

    create_on: list[str] = field(default_factory=list)
    delete: list[JsonObject] = field(default_factory=list)
    failed: list[JsonObject] = field(default_factory=list)
    """Failed pods, to be deleted with back-off; their deletion brings a new plan."""
    status: JsonObject = field(default_factory=dict)


def suitability(daemon_set: JsonObject, node: JsonObject) -> Suitability:
    """Judge by node name, selector and affinity, then by taints.

    A taint that forbids scheduling keeps new pods out and lets old ones stay.
    """
    spec = daemon_set["spec"]["template"]["spec"]
    name = node["metadata"]["name"]
    if spec.get("nodeName") not in (None, "", name):
        return Suitability(False, False)
    if not matches_node(spec, name, node["metadata"].get("labels") or {}):
        return Suitability(False, False)
    taints = (node.get("spec") or {}).get("taints") or ()
    tolerations = daemon_tolerations(spec)
    if untolerated(taints, tolerations, ("NoExecute",)) is not None:
        return Suitability(False, False)
    scheduled = untolerated(taints, tolerations, ("NoSchedule",)) is None
    return Suitability(scheduled, True)


def daemon_tolerations(spec: JsonObject) -> list[JsonObject]:
    """Return the template's tolerations and those that every daemon has."""
    extra = [*DAEMON_TOLERATIONS]
    if spec.get("hostNetwork"):
        extra.append(HOST_NETWORK_TOLERATION)
    own = spec.get("tolerations") or []
    return [*own, *(toleration for toleration in extra if toleration not in own)]


def daemon_pod(daemon_set: JsonObject, node: str, revision_hash: str) -> JsonObject:
    """Make the pod for a node: the scheduler binds it, its affinity leaves no choice."""
    pod = pod_from_template(daemon_set, daemon_set["spec"]["template"])
    pod["metadata"].setdefault("labels", {})[REVISION_HASH] = revision_hash
    spec = pod["spec"]
    spec["tolerations"] = daemon_tolerations(spec)
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    by_name = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    # Terms are alternatives, so each of them has to name the node.
    affinity[REQUIRED] = {"nodeSelectorTerms": [{**t, "matchFields": [by_name]} for t in terms]}
    return pod


def target_node(pod: JsonObject) -> str:
    """Return the node that the pod is on, or is meant for while it is not bound."""
    if bound := node_name(pod):
        return bound
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    for term in (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or ():
        for row in term.get("matchFields") or ():
            if row["key"] == "metadata.name" and row.get("values"):
                name: str = row["values"][0]
                return name
    return ""


def plan_daemons(
    daemon_set: JsonObject,
    nodes: Sequence[JsonObject],
    owned: Iterable[JsonObject],
    revision_hash: str,
    now: datetime,
) -> DaemonPlan:
    """Plan for all nodes; `revision_hash` is the label of pods of the current template."""
    by_node: dict[str, list[JsonObject]] = {}
    for pod in owned:
        by_node.setdefault(target_node(pod), []).append(pod)
    plan = DaemonPlan()
    wanted_on: list[str] = []
    settled: dict[str, list[JsonObject]] = {}
    known = {node["metadata"]["name"]: suitability(daemon_set, node) for node in nodes}
    for name, suits in known.items():
        pods = by_node.get(name, [])
        if suits.should_run:
            wanted_on.append(name)
        settled[name] = _plan_node(plan, name, suits, pods, revision_hash)
    for name, pods in by_node.items():
        if name not in known:
            # The node is gone: a pod that is bound to it is the pod collector's.
            plan.delete += [p for p in pods if not node_name(p) and not is_terminating(p)]
    plan.status = _status(daemon_set, known, by_node, revision_hash, now)
    if (daemon_set["spec"].get("updateStrategy") or {}).get("type") != "OnDelete":
        _plan_update(plan, daemon_set, wanted_on, settled, revision_hash, now)
    return plan


def _plan_node(
    plan: DaemonPlan, name: str, suits: Suitability, pods: list[JsonObject], revision_hash: str
) -> list[JsonObject]:
    """Plan one node as if nothing were to be updated; return the pods that stay there."""
    if not suits.may_stay:
        plan.delete += [pod for pod in pods if not is_terminating(pod)]
        return []
    plan.failed += [pod for pod in pods if phase(pod) == "Failed" and not is_terminating(pod)]
    active = sorted(filter(is_active, pods), key=lambda p: p["metadata"]["creationTimestamp"])
    # While one stops, the next waits: a daemon holds ports and files of its node.
    if not pods and suits.should_run:
        plan.create_on.append(name)
    current = [pod for pod in active if _is_current(pod, revision_hash)]
    outdated = [pod for pod in active if not _is_current(pod, revision_hash)]
    plan.delete += current[1:] + outdated[1:]
    return current[:1] + outdated[:1]


def _plan_update(
    plan: DaemonPlan,
    daemon_set: JsonObject,
    wanted_on: Sequence[str],
    settled: Mapping[str, list[JsonObject]],
    revision_hash: str,
    now: datetime,
) -> None:
    """Replace outdated pods, within maxUnavailable, or beside them, within maxSurge."""
    surge, unavailable = update_bounds(daemon_set, len(wanted_on))
    min_ready_seconds = daemon_set["spec"].get("minReadySeconds") or 0
    down = surging = 0
    candidates: list[tuple[str, JsonObject]] = []
    for name in wanted_on:
        pods = settled[name]
        up = [pod for pod in pods if is_available(pod, min_ready_seconds, now)]
        outdated = [pod for pod in pods if not _is_current(pod, revision_hash)]
        current = [pod for pod in pods if _is_current(pod, revision_hash)]
        surging += bool(current and outdated)
        if not up:
            down += 1
        if not outdated:
            continue
        if current:
            # Beside its successor, the old pod goes once the new one can take over.
            if current[0] in up or outdated[0] not in up:
                plan.delete += outdated
        elif outdated[0] not in up:
            # Nothing is lost by replacing what does not work.
            if surge:
                plan.create_on.append(name)
            else:
                plan.delete += outdated
        else:
            candidates.append((name, outdated[0]))
    if surge:
        plan.create_on += [name for name, _ in candidates[: max(0, surge - surging)]]
    else:
        plan.delete += [pod for _, pod in candidates[: max(0, unavailable - down)]]


def update_bounds(daemon_set: JsonObject, desired: int) -> tuple[int, int]:
    """Resolve (maxSurge, maxUnavailable), percentages of the wanted pods, both rounded up."""
    rolling = (daemon_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = scaled_value(rolling.get("maxSurge", 0), desired, round_up=True)
    unavailable = scaled_value(rolling.get("maxUnavailable", 1), desired, round_up=True)
    return surge, unavailable if surge or unavailable else 1


def _status(
    daemon_set: JsonObject,
    known: Mapping[str, Suitability],
    by_node: Mapping[str, list[JsonObject]],
    revision_hash: str,
    now: datetime,
) -> JsonObject:
    min_ready_seconds = daemon_set["spec"].get("minReadySeconds") or 0
    desired = current = misscheduled = ready = available = updated = 0
    for name, suits in known.items():
        pods = [pod for pod in by_node.get(name, ()) if is_active(pod)]
        if not suits.should_run:
            misscheduled += bool(pods)
            continue
        desired += 1
        if not pods:
            continue
        current += 1
        ready += any(map(is_ready, pods))
        available += any(is_available(pod, min_ready_seconds, now) for pod in pods)
        newest = max(pods, key=lambda p: p["metadata"]["creationTimestamp"])
        updated += _is_current(newest, revision_hash)
    optional = {
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": desired - available,
    }
    return {
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": desired,
        "numberReady": ready,
    } | {name: count for name, count in optional.items() if count}


def _is_current(pod: JsonObject, revision_hash: str) -> bool:
    return (pod["metadata"].get("labels") or {}).get(REVISION_HASH) == revision_hash


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """What to do about the ControllerRevisions, and which hash pods of the current one carry."""

    revision_hash: str
    create: JsonObject | None
    update: JsonObject | None
    """The current one with a higher number: it was rolled back to."""
    delete: Sequence[JsonObject]


def plan_history(
    daemon_set: JsonObject,
    revisions: Sequence[JsonObject],
    live_hashes: Iterable[str],
    make: JsonObject,
) -> HistoryPlan:
    """Find or make the revision of the current template, and drop old ones that no pod uses.

    `make` is what `new_revision` returns for the template.
    """
    latest = max((r.get("revision", 0) for r in revisions), default=0)
    same = [r for r in revisions if r.get("data") == make["data"]]
    current = max(same, key=lambda r: r.get("revision", 0), default=None)
    create = update = None
    if current is None:
        create = current = {**make, "revision": latest + 1}
    elif current.get("revision", 0) < latest:
        update = {**current, "revision": latest + 1}
    revision_hash: str = current["metadata"]["labels"][REVISION_HASH]
    limit = daemon_set["spec"].get("revisionHistoryLimit", 10)
    used = {*live_hashes, revision_hash}
    unused = [r for r in revisions if r["metadata"]["labels"].get(REVISION_HASH) not in used]
    unused.sort(key=lambda r: r.get("revision", 0))
    return HistoryPlan(revision_hash, create, update, unused[: max(0, len(unused) - limit)])


def revision_data(daemon_set: JsonObject) -> JsonObject:
    """Return the patch that takes a DaemonSet back to its present template: `rollout undo`."""
    template = copy_json(daemon_set["spec"]["template"])
    return {"spec": {"template": {**template, "$patch": "replace"}}}
