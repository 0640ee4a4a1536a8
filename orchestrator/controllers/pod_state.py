"""What controllers want to know of a pod: active, ready, available."""

from datetime import UTC, datetime, timedelta

from orchestrator.api.json_object import JsonObject
from orchestrator.api.times import parse_time
from orchestrator.client.conditions import find_condition


def phase(pod: JsonObject) -> str:
    """Return status.phase; a pod that has none yet is Pending."""
    return (pod.get("status") or {}).get("phase") or "Pending"


def is_terminating(pod: JsonObject) -> bool:
    """Say whether the pod is being deleted."""
    return "deletionTimestamp" in pod["metadata"]


def is_finished(pod: JsonObject) -> bool:
    """Say whether all containers have ended for good."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: JsonObject) -> bool:
    """Say whether the pod counts as one of its controller's replicas."""
    return not is_finished(pod) and not is_terminating(pod)


def ready_since(pod: JsonObject) -> datetime | None:
    """Return when the pod became ready; None if it is not ready."""
    condition = find_condition(pod, "Ready")
    if condition is None or condition["status"] != "True":
        return None
    since = condition.get("lastTransitionTime") or pod["metadata"].get("creationTimestamp")
    return parse_time(since) if since else datetime.min.replace(tzinfo=UTC)


def is_ready(pod: JsonObject) -> bool:
    """Say whether the pod's Ready condition is True."""
    condition = find_condition(pod, "Ready")
    return condition is not None and condition["status"] == "True"


def is_available(pod: JsonObject, min_ready_seconds: int, now: datetime) -> bool:
    """Say whether the pod has been ready for at least `min_ready_seconds`."""
    if not min_ready_seconds:
        return is_ready(pod)
    since = ready_since(pod)
    return since is not None and since + timedelta(seconds=min_ready_seconds) <= now


def node_name(pod: JsonObject) -> str:
    """Return the node the pod is bound to; empty while it is not."""
    return pod["spec"].get("nodeName") or ""


BY_NODE = "node"
"""Index of pods by the node that they are bound to."""


def index_by_node(pod: JsonObject) -> tuple[str, ...]:
    """Index function of BY_NODE; pods without a node are left out."""
    name = node_name(pod)
    return (name,) if name else ()
