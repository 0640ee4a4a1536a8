"""How good a node is for a pod, looking at that node alone; higher is better.

Scores are absolute, not relative to the other nodes of the moment as upstream's are: a node's score
changes only when the node does, which is what lets `NodeRanking` keep them.
"""

from typing import Final

from orchestrator.scheduler.framework.cluster_state import NodeInfo
from orchestrator.scheduler.framework.node_affinity import preference
from orchestrator.scheduler.framework.pod_info import PodInfo
from orchestrator.scheduler.framework.taints import disliked_count

TAINT_WEIGHT: Final = 3.0
AFFINITY_WEIGHT: Final = 2.0
LEAST_ALLOCATED_WEIGHT: Final = 1.0
BALANCED_WEIGHT: Final = 1.0
"""Upstream's default weights; each part below is in [0, 100]."""


def score(pod: PodInfo, node: NodeInfo) -> float:
    """Return the weighted sum of the parts."""
    cpu_share = _share(node.scored_cpu + pod.scored_cpu, node.allocatable.get("cpu", 0))
    memory_share = _share(node.scored_memory + pod.scored_memory, node.allocatable.get("memory", 0))
    least_allocated = 100.0 * (1.0 - (cpu_share + memory_share) / 2.0)
    # The standard deviation of two values is half their distance.
    balanced = 100.0 * (1.0 - abs(cpu_share - memory_share) / 2.0)
    total = LEAST_ALLOCATED_WEIGHT * least_allocated + BALANCED_WEIGHT * balanced
    disliked = disliked_count(node.taints, pod.spec.get("tolerations") or ()) if node.taints else 0
    total += TAINT_WEIGHT * 100.0 / (1 + disliked)
    if "affinity" in pod.spec:
        total += AFFINITY_WEIGHT * 100.0 * preference(pod.spec, node.name, node.labels)
    return total


def _share(used: int, allocatable: int) -> float:
    return min(1.0, used / allocatable) if allocatable else 1.0
