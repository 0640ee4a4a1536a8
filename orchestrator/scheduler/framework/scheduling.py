"""The decision: a node for a pod, or why there is none."""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from orchestrator.api.json_object import JsonObject
from orchestrator.scheduler.framework.cluster_state import ClusterState, NodeInfo
from orchestrator.scheduler.framework.node_filter import AFFINITY, refusals
from orchestrator.scheduler.framework.node_ranking import NodeRanking, RandomSource
from orchestrator.scheduler.framework.pod_info import REQUIRED, PodInfo
from orchestrator.scheduler.framework.topology import PREFERRED, TopologyView, needs_topology

RANKINGS_MAX: Final = 32
"""Signatures whose rankings are kept; the least recently used is dropped."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Either a node, or a message that says what each node lacked."""

    node_name: str | None
    message: str = ""


class SchedulingAlgorithm:
    """Decides on one ClusterState, and keeps rankings between decisions."""

    def __init__(self, state: ClusterState, random: RandomSource) -> None:
        self._state = state
        self._random = random
        self._rankings: OrderedDict[bytes, NodeRanking] = OrderedDict()

    def decide(self, pod: PodInfo) -> Decision:
        """Choose a node; the caller places the pod there before the next decision."""
        reason = unsupported(pod.spec)
        if reason:
            return Decision(None, reason)
        pinned = _pinned_node(pod.spec)
        if pinned is not None:
            return self._decide_pinned(pod, pinned)
        ranking = self._ranking(pod)
        if needs_topology(pod, self._state):
            return self._decide_by_topology(pod, ranking)
        best = ranking.best(pod)
        if best is not None:
            return Decision(best.name)
        return Decision(None, self._failure(ranking.refusal_counts()))

    def _decide_pinned(self, pod: PodInfo, name: str) -> Decision:
        """A daemon's pod: its affinity names one node, so no other needs a look."""
        node = self._state.nodes.get(name)
        others = self._state.node_count
        if node is None or not node.exists:
            return Decision(None, self._failure(Counter({AFFINITY: others})))
        reasons = refusals(pod, node)
        if not reasons and needs_topology(pod, self._state):
            view = TopologyView(self._state, pod)
            reasons = view.refusals(node)
        if not reasons:
            return Decision(name)
        counts = Counter(reasons)
        if others > 1:
            counts[AFFINITY] += others - 1
        return Decision(None, self._failure(counts))

    def _decide_by_topology(self, pod: PodInfo, ranking: NodeRanking) -> Decision:
        """Look at every feasible node: where its domain's other pods are decides as well."""
        view = TopologyView(self._state, pod)
        best: NodeInfo | None = None
        best_rank = (float("-inf"), 0.0)
        refused: Counter[str] = Counter()
        for base, node in ranking.feasible(pod):
            reasons = view.refusals(node)
            if reasons:
                refused.update(reasons)
                continue
            rank = (base + view.score(node), self._random.random())
            if rank > best_rank:
                best, best_rank = node, rank
        if best is not None:
            return Decision(best.name)
        return Decision(None, self._failure(ranking.refusal_counts() + refused))

    def _ranking(self, pod: PodInfo) -> NodeRanking:
        ranking = self._rankings.get(pod.signature)
        if ranking is None:
            ranking = self._rankings[pod.signature] = NodeRanking(self._state, self._random)
            while len(self._rankings) > RANKINGS_MAX:
                self._rankings.popitem(last=False)
        self._rankings.move_to_end(pod.signature)
        return ranking

    def _failure(self, counts: Counter[str]) -> str:
        """Word it as Kubernetes does: `0/3 nodes are available: 1 Insufficient cpu, 2 ….`"""
        total = self._state.node_count
        if not total:
            return "no nodes available to schedule pods"
        parts = sorted(f"{count} {reason}" for reason, count in counts.items())
        return f"0/{total} nodes are available: {', '.join(parts)}."


def unsupported(spec: JsonObject) -> str:
    """Name what the pod asks for that this scheduler does not do; empty where it is nothing."""
    for volume in spec.get("volumes") or ():
        if "persistentVolumeClaim" in volume or "ephemeral" in volume:
            return (
                f'volume "{volume["name"]}" is a claim on a persistent volume, '
                "and this scheduler does not bind those"
            )
    affinity = spec.get("affinity") or {}
    for name in ("podAffinity", "podAntiAffinity"):
        for term in _terms(affinity.get(name) or {}):
            if term.get("namespaceSelector"):
                return f"spec.affinity.{name}: this scheduler does not select namespaces by label"
    if spec.get("resourceClaims"):
        return "spec.resourceClaims: this scheduler does not allocate devices"
    return ""


def _terms(affinity: JsonObject) -> list[JsonObject]:
    preferred = affinity.get(PREFERRED) or ()
    return [*(affinity.get(REQUIRED) or ()), *(row["podAffinityTerm"] for row in preferred)]


def _pinned_node(spec: JsonObject) -> str | None:
    """Return the only node that required affinity takes by its name, if it has that simple form."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    if len(terms) != 1:
        return None
    for field in terms[0].get("matchFields") or ():
        values = field.get("values") or []
        if field["key"] == "metadata.name" and field["operator"] == "In" and len(values) == 1:
            name: str = values[0]
            return name
    return None
