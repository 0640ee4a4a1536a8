"""Where other pods are, by domain: topology spread, pod affinity and anti-affinity.

A domain is the set of nodes with one value of a label, such as a zone. For each signature the
counts of matching pods per domain are kept, and only the nodes that changed are counted again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orchestrator.api.json_object import JsonObject
from orchestrator.scheduler.framework.cluster_state import ClusterState, NodeInfo
from orchestrator.scheduler.framework.node_affinity import matches_node
from orchestrator.scheduler.framework.node_filter import HARD_EFFECTS
from orchestrator.scheduler.framework.pod_info import REQUIRED, PodInfo
from orchestrator.scheduler.framework.pod_term import PodTerm
from orchestrator.scheduler.framework.taints import untolerated

PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
SPREAD: Final = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL: Final = (
    "node(s) didn't match pod topology spread constraints (missing required label)"
)
AFFINITY: Final = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY: Final = "node(s) didn't match pod anti-affinity rules"
SPREAD_WEIGHT: Final = 2.0
POD_AFFINITY_WEIGHT: Final = 2.0


class DomainCounts:
    """Matching pods per domain of one label, over the eligible nodes."""

    def __init__(
        self,
        key: str,
        matches: Callable[[PodInfo], bool],
        is_eligible: Callable[[NodeInfo], bool] = lambda node: True,
    ) -> None:
        self.key = key
        self.pods: dict[str, int] = {}
        """By domain. A domain with eligible nodes is in it, even with 0 pods."""
        self.total = 0
        self._matches = matches
        self._is_eligible = is_eligible
        self._nodes: dict[str, int] = {}
        self._by_node: dict[str, tuple[str, int]] = {}

    def recount(self, name: str, node: NodeInfo | None) -> None:
        """Take the node's present state in the place of what was counted for it."""
        known = self._by_node.pop(name, None)
        if known is not None:
            self._add(known[0], -known[1], -1)
        if node is None or not node.exists:
            return
        domain = node.labels.get(self.key)
        if domain is not None and self._is_eligible(node):
            count = sum(map(self._matches, node.pods.values()))
            self._by_node[name] = domain, count
            self._add(domain, count, 1)

    def _add(self, domain: str, pods: int, nodes: int) -> None:
        self.total += pods
        self.pods[domain] = self.pods.get(domain, 0) + pods
        self._nodes[domain] = self._nodes.get(domain, 0) + nodes
        if not self._nodes[domain]:
            del self._nodes[domain], self.pods[domain]


class _Spread:
    """A topology spread constraint of the pods of one signature."""

    def __init__(self, constraint: JsonObject, pod: PodInfo) -> None:
        self._term = PodTerm(constraint, pod.namespace, pod.labels)
        self._pod = pod
        self.max_skew: int = constraint["maxSkew"]
        self.is_hard = constraint["whenUnsatisfiable"] == "DoNotSchedule"
        self._min_domains: int = constraint.get("minDomains") or 1
        self._honour_taints = constraint.get("nodeTaintsPolicy") == "Honor"
        self._honour_affinity = constraint.get("nodeAffinityPolicy", "Honor") == "Honor"
        self._counts_itself = int(self._term.matches(pod))
        self.counts = DomainCounts(self._term.key, self._term.matches, self._is_eligible)
        self._fewest = self._most = 0

    def _is_eligible(self, node: NodeInfo) -> bool:
        spec = self._pod.spec
        if self._honour_affinity and not matches_node(spec, node.name, node.labels):
            return False
        tolerations = spec.get("tolerations") or ()
        return not self._honour_taints or not untolerated(node.taints, tolerations, HARD_EFFECTS)

    def finish_counting(self) -> None:
        """Compute what nodes are compared with; too few domains count as one more, empty."""
        counts = self.counts.pods.values()
        self._most = max(counts, default=0)
        enough = len(self.counts.pods) >= self._min_domains
        self._fewest = min(counts, default=0) if enough else 0

    def refusal(self, node: NodeInfo) -> str:
        """Say why the pod may not be on the node; empty where it may."""
        domain = node.labels.get(self.counts.key)
        if domain is None:
            return SPREAD_LABEL
        skew = self.counts.pods.get(domain, 0) + self._counts_itself - self._fewest
        return SPREAD if skew > self.max_skew else ""

    def score(self, node: NodeInfo) -> float:
        """Return [0, 100], most for the emptiest domain."""
        domain = node.labels.get(self.counts.key)
        if domain is None:
            return 0.0
        return 100.0 * (1 - self.counts.pods.get(domain, 0) / (self._most + 1))


class Topology:
    """The constraints of one signature, and the cluster's domains as they see them."""

    def __init__(self, state: ClusterState, pod: PodInfo) -> None:
        affinity = pod.spec.get("affinity") or {}
        pod_affinity = affinity.get("podAffinity") or {}
        anti_affinity = affinity.get("podAntiAffinity") or {}
        self._state = state
        self._seen_changes: int | None = None
        spreads = [_Spread(c, pod) for c in pod.spec.get("topologySpreadConstraints") or ()]
        self._hard_spreads = [spread for spread in spreads if spread.is_hard]
        self._soft_spreads = [spread for spread in spreads if not spread.is_hard]
        self._required = [_counts(term, pod) for term in pod_affinity.get(REQUIRED) or ()]
        self._forbidden = [_counts(term, pod) for term in pod.required_anti_affinity]
        self._preferred = _weighted(pod_affinity, pod, 1) + _weighted(anti_affinity, pod, -1)
        self._weight_total = sum(abs(weight) for weight, _ in self._preferred)
        self._matches_itself = all(
            PodTerm(term, pod.namespace, pod.labels).matches(pod)
            for term in pod_affinity.get(REQUIRED) or ()
        )
        self._all_counts = [
            *(spread.counts for spread in spreads),
            *self._required,
            *self._forbidden,
            *(counts for _, counts in self._preferred),
        ]

    @property
    def is_soft(self) -> bool:
        """Say whether domains change the order of nodes, beyond forbidding some."""
        return bool(self._soft_spreads or self._preferred)

    def catch_up(self) -> None:
        """Count the nodes that changed since the last call; all of them the first time."""
        state = self._state
        changed = None
        if self._seen_changes is not None:
            changed = state.changes_since(self._seen_changes)
        for name in {*state.nodes} if changed is None else changed:
            for counts in self._all_counts:
                counts.recount(name, state.nodes.get(name))
        self._seen_changes = state.change_count
        for spread in (*self._hard_spreads, *self._soft_spreads):
            spread.finish_counting()
        # The first of a group that wants to be together may go anywhere.
        nobody_yet = not any(counts.total for counts in self._required)
        self._may_begin = self._matches_itself and nobody_yet

    def refusal(self, node: NodeInfo) -> str:
        """Say why the pod cannot be on the node for where other pods are; empty where it can."""
        for spread in self._hard_spreads:
            if reason := spread.refusal(node):
                return reason
        for counts in self._required:
            domain = node.labels.get(counts.key)
            if domain is None or not (counts.pods.get(domain) or self._may_begin):
                return AFFINITY
        for counts in self._forbidden:
            if counts.pods.get(node.labels.get(counts.key, "")):
                return ANTI_AFFINITY
        return ""

    def score(self, node: NodeInfo) -> float:
        """Return the soft constraints' part of the node's score."""
        total = SPREAD_WEIGHT * sum(spread.score(node) for spread in self._soft_spreads)
        if self._weight_total:
            met = sum(
                weight
                for weight, counts in self._preferred
                if counts.pods.get(node.labels.get(counts.key, ""))
            )
            total += POD_AFFINITY_WEIGHT * 100.0 * met / self._weight_total
        return total


def has_topology(pod: PodInfo) -> bool:
    """Say whether the pod itself has constraints on where other pods are."""
    affinity = pod.spec.get("affinity") or {}
    return bool(
        pod.spec.get("topologySpreadConstraints")
        or affinity.get("podAffinity")
        or affinity.get("podAntiAffinity")
    )


def _counts(term: JsonObject, pod: PodInfo) -> DomainCounts:
    parsed = PodTerm(term, pod.namespace, pod.labels)
    return DomainCounts(parsed.key, parsed.matches)


def _weighted(affinity: JsonObject, pod: PodInfo, sign: int) -> list[tuple[int, DomainCounts]]:
    return [
        (sign * row["weight"], _counts(row["podAffinityTerm"], pod))
        for row in affinity.get(PREFERRED) or ()
    ]
