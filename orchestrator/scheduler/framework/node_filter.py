"""Whether one node can take one pod, looking at that node alone."""

from typing import Final

from orchestrator.api.json_object import JsonObject
from orchestrator.scheduler.framework.cluster_state import NodeInfo
from orchestrator.scheduler.framework.host_ports import conflict
from orchestrator.scheduler.framework.node_affinity import matches_node
from orchestrator.scheduler.framework.pod_info import PodInfo
from orchestrator.scheduler.framework.taints import untolerated

UNSCHEDULABLE_TAINT: Final = {
    "key": "node.kubernetes.io/unschedulable",
    "effect": "NoSchedule",
}
HARD_EFFECTS: Final = ("NoSchedule", "NoExecute")

UNSCHEDULABLE: Final = "node(s) were unschedulable"
AFFINITY: Final = "node(s) didn't match Pod's node affinity/selector"
PORTS: Final = "node(s) didn't have free ports for the requested pod ports"
TOO_MANY_PODS: Final = "Too many pods"


def refusals(pod: PodInfo, node: NodeInfo) -> list[str]:
    """Return why the node cannot take the pod, in Kubernetes' words; empty where it can.

    What the node is comes before what it has left: only when it suits are all shortages told.
    """
    tolerations = pod.spec.get("tolerations") or ()
    if node.unschedulable and not _tolerates_unschedulable(pod.spec):
        return [UNSCHEDULABLE]
    if node.taints:
        taint = untolerated(node.taints, tolerations, HARD_EFFECTS)
        if taint is not None:
            value = taint.get("value") or ""
            return [f"node(s) had untolerated taint {{{taint['key']}: {value}}}"]
    if not matches_node(pod.spec, node.name, node.labels):
        return [AFFINITY]
    if pod.host_ports and any(
        conflict(wanted, taken) for wanted in pod.host_ports for taken in node.ports
    ):
        return [PORTS]
    return shortages(pod, node)


def shortages(pod: PodInfo, node: NodeInfo) -> list[str]:
    """Return what the node has too little of."""
    short = []
    if node.pod_count + 1 > node.pods_max:
        short.append(TOO_MANY_PODS)
    for name, amount in pod.requests.items():
        if amount and amount > node.allocatable.get(name, 0) - node.used.get(name, 0):
            short.append(f"Insufficient {name}")
    return short


def _tolerates_unschedulable(spec: JsonObject) -> bool:
    return untolerated((UNSCHEDULABLE_TAINT,), spec.get("tolerations") or (), HARD_EFFECTS) is None
