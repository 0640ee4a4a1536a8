"""The decision: a node for a pod, or why there is none."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from orchestrator.api.json_object import JsonObject
from orchestrator.scheduler.framework.cluster_state import ClusterState, NodeInfo
from orchestrator.scheduler.framework.node_filter import AFFINITY, refusals
from orchestrator.scheduler.framework.node_ranking import NodeRanking, RandomSource
from orchestrator.scheduler.framework.pod_info import REQUIRED, PodInfo
from orchestrator.scheduler.framework.topology import PREFERRED, Topology, has_topology

SIGNATURES_MAX: Final = 32
"""Signatures for which rankings and counts are kept; the least recently used is dropped."""
EXISTING_ANTI_AFFINITY: Final = "node(s) didn't satisfy existing pods anti-affinity rules"

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Decision:
    """Either a node, or a message that says what each node lacked."""

    node_name: str | None
    message: str = ""


class _Recent(Generic[Kept]):
    """What was computed for the signatures seen last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()

    def get(self, signature: bytes, make: Callable[[], Kept]) -> Kept:
        """Return what is kept for the signature, made now if there is nothing."""
        found = self._kept.get(signature)
        if found is None:
            found = self._kept[signature] = make()
            while len(self._kept) > SIGNATURES_MAX:
                self._kept.popitem(last=False)
        self._kept.move_to_end(signature)
        return found


class SchedulingAlgorithm:
    """Decides on one ClusterState, and keeps rankings between decisions."""

    def __init__(self, state: ClusterState, random: RandomSource) -> None:
        self._state = state
        self._random = random
        self._rankings: _Recent[NodeRanking] = _Recent()
        self._topologies: _Recent[Topology] = _Recent()

    def decide(self, pod: PodInfo) -> Decision:
        """Choose a node; the caller places the pod there before the next decision."""
        reason = unsupported(pod.spec)
        if reason:
            return Decision(None, reason)
        pinned = _pinned_node(pod.spec)
        if pinned is not None:
            return self._decide_pinned(pod, pinned)
        ranking = self._ranking(pod)
        if has_topology(pod) or self._state.anti_affinity:
            return self._decide_by_topology(pod, ranking)
        best = ranking.best(pod)
        if best is not None:
            return Decision(best.name)
        return Decision(None, self._failure(ranking.refusal_counts()))

    def _decide_pinned(self, pod: PodInfo, name: str) -> Decision:
        """A daemon's pod: its affinity names one node, so no other needs a look."""
        node = self._state.nodes.get(name)
        if node is None or not node.exists:
            counts = Counter({AFFINITY: self._state.node_count})
            return Decision(None, self._failure(counts))
        reasons = refusals(pod, node)
        if not reasons and (reason := self._domain_refusal(pod)(node)):
            reasons = [reason]
        if not reasons:
            return Decision(name)
        counts = Counter(reasons)
        others = self._state.node_count - 1
        if others:
            counts[AFFINITY] += others
        return Decision(None, self._failure(counts))

    def _decide_by_topology(self, pod: PodInfo, ranking: NodeRanking) -> Decision:
        """Walk the feasible nodes: where other pods are decides as well.

        Without preferences about domains the best acceptable node ends the walk; with them every
        node is looked at.
        """
        refusal = self._domain_refusal(pod)
        topology = self._topology(pod)
        refused: Counter[str] = Counter()
        if topology is None or not topology.is_soft:
            with closing(ranking.in_order(pod)) as ordered:
                for node in ordered:
                    if not (reason := refusal(node)):
                        return Decision(node.name)
                    refused[reason] += 1
            return Decision(None, self._failure(ranking.refusal_counts() + refused))
        best: NodeInfo | None = None
        best_rank = (float("-inf"), 0.0)
        for base, node in ranking.feasible(pod):
            if reason := refusal(node):
                refused[reason] += 1
                continue
            rank = (base + topology.score(node), self._random.random())
            if rank > best_rank:
                best, best_rank = node, rank
        if best is not None:
            return Decision(best.name)
        return Decision(None, self._failure(ranking.refusal_counts() + refused))

    def _domain_refusal(self, pod: PodInfo) -> Callable[[NodeInfo], str]:
        """Return what says, for this pod and moment, why a node is refused for other pods' sake."""
        topology = self._topology(pod)
        if topology is not None:
            topology.catch_up()
        nodes = self._state.nodes
        refused = self._state.anti_affinity.refused_domains(pod, lambda name: nodes[name].labels)

        def refusal(node: NodeInfo) -> str:
            if topology is not None and (reason := topology.refusal(node)):
                return reason
            if any(node.labels.get(key) in domains for key, domains in refused.items()):
                return EXISTING_ANTI_AFFINITY
            return ""

        return refusal

    def _topology(self, pod: PodInfo) -> Topology | None:
        """Return the kept counts for the pod's own constraints, None where it has none."""
        if not has_topology(pod):
            return None
        return self._topologies.get(pod.signature, lambda: Topology(self._state, pod))

    def _ranking(self, pod: PodInfo) -> NodeRanking:
        make = partial(NodeRanking, self._state, self._random)
        return self._rankings.get(pod.signature, make)

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
