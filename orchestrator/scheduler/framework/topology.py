"""Where other pods are, by domain: topology spread, pod affinity and anti-affinity.

A domain is the set of nodes with one value of a label, such as a zone. A view counts matching pods
per domain once for the pod to place, and then answers for each node in O(constraints).
"""

from collections import Counter
from typing import Final

from orchestrator.api.json_object import JsonObject
from orchestrator.api.selectors import LabelSelector
from orchestrator.scheduler.framework.cluster_state import ClusterState, NodeInfo
from orchestrator.scheduler.framework.node_affinity import matches_node
from orchestrator.scheduler.framework.node_filter import HARD_EFFECTS
from orchestrator.scheduler.framework.pod_info import REQUIRED, PodInfo
from orchestrator.scheduler.framework.taints import untolerated

PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
SPREAD: Final = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL: Final = (
    "node(s) didn't match pod topology spread constraints (missing required label)"
)
AFFINITY: Final = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY: Final = "node(s) didn't match pod anti-affinity rules"
EXISTING_ANTI_AFFINITY: Final = "node(s) didn't satisfy existing pods anti-affinity rules"
SPREAD_WEIGHT: Final = 2.0
POD_AFFINITY_WEIGHT: Final = 2.0


def needs_topology(pod: PodInfo, state: ClusterState) -> bool:
    """Say whether placing the pod depends on pods of other nodes."""
    affinity = pod.spec.get("affinity") or {}
    return bool(
        state.anti_affinity_pods
        or pod.spec.get("topologySpreadConstraints")
        or affinity.get("podAffinity")
        or affinity.get("podAntiAffinity")
    )


class _Term:
    """An affinity term: which pods it looks at, and how many are in each domain of its key."""

    def __init__(self, term: JsonObject, owner: PodInfo) -> None:
        self.key: str = term["topologyKey"]
        self._selector = _selector(term, owner.labels)
        self._namespaces = frozenset(term.get("namespaces") or ())
        self._every_namespace = term.get("namespaceSelector") == {}
        if not self._namespaces and "namespaceSelector" not in term:
            self._namespaces = frozenset((owner.namespace,))
        self.domains: Counter[str] = Counter()

    def matches(self, pod: PodInfo) -> bool:
        in_namespace = self._every_namespace or pod.namespace in self._namespaces
        return in_namespace and self._selector.matches(pod.labels)


class _Spread:
    """A topology spread constraint with the matching pods of each eligible domain."""

    def __init__(self, constraint: JsonObject, pod: PodInfo) -> None:
        self.key: str = constraint["topologyKey"]
        self.max_skew: int = constraint["maxSkew"]
        self.hard = constraint["whenUnsatisfiable"] == "DoNotSchedule"
        self._min_domains: int = constraint.get("minDomains") or 1
        self._selector = _selector(constraint, pod.labels)
        self._namespace = pod.namespace
        self._honour_taints = constraint.get("nodeTaintsPolicy") == "Honor"
        self._honour_affinity = constraint.get("nodeAffinityPolicy", "Honor") == "Honor"
        self.counts_itself = int(self._selector.matches(pod.labels))
        self.domains: dict[str, int] = {}
        self.fewest = self.most = 0

    def count(self, node: NodeInfo, pod: PodInfo) -> None:
        domain = node.labels.get(self.key)
        if domain is None or not self._is_eligible(node, pod):
            return
        matching = sum(
            other.namespace == self._namespace and self._selector.matches(other.labels)
            for other in node.pods.values()
        )
        self.domains[domain] = self.domains.get(domain, 0) + matching

    def _is_eligible(self, node: NodeInfo, pod: PodInfo) -> bool:
        if self._honour_affinity and not matches_node(pod.spec, node.name, node.labels):
            return False
        tolerations = pod.spec.get("tolerations") or ()
        return not self._honour_taints or not untolerated(node.taints, tolerations, HARD_EFFECTS)

    def finish_counting(self) -> None:
        """Compute what all nodes are compared with; too few domains count as an empty one more."""
        self.most = max(self.domains.values(), default=0)
        self.fewest = min(self.domains.values(), default=0)
        if len(self.domains) < self._min_domains:
            self.fewest = 0

    def skew(self, domain: str) -> int:
        """Return how far the domain would be above the emptiest, with the pod in it."""
        return self.domains.get(domain, 0) + self.counts_itself - self.fewest


class TopologyView:
    """The cluster's domains as one pod's constraints, and other pods' anti-affinity, see them."""

    def __init__(self, state: ClusterState, pod: PodInfo) -> None:
        affinity = pod.spec.get("affinity") or {}
        pod_affinity = affinity.get("podAffinity") or {}
        anti_affinity = affinity.get("podAntiAffinity") or {}
        self._pod = pod
        self._spreads = [_Spread(c, pod) for c in pod.spec.get("topologySpreadConstraints") or ()]
        self._required = [_Term(term, pod) for term in pod_affinity.get(REQUIRED) or ()]
        self._forbidden = [_Term(term, pod) for term in pod.required_anti_affinity]
        self._preferred = _weighted(pod_affinity, pod, 1) + _weighted(anti_affinity, pod, -1)
        self._weight_total = sum(abs(weight) for weight, _ in self._preferred)
        self._refused_domains = _domains_refused_by_others(state, pod)
        terms = [*self._required, *self._forbidden, *(term for _, term in self._preferred)]
        if terms or self._spreads:
            for node in state.nodes.values():
                if node.exists:
                    self._count(node, terms)
        for spread in self._spreads:
            spread.finish_counting()
        # The first of a group that wants to be together may go anywhere.
        self._is_first = not any(sum(term.domains.values()) for term in self._required) and all(
            term.matches(pod) for term in self._required
        )

    def _count(self, node: NodeInfo, terms: list[_Term]) -> None:
        for spread in self._spreads:
            spread.count(node, self._pod)
        for term in terms:
            domain = node.labels.get(term.key)
            if domain is not None:
                term.domains[domain] += sum(map(term.matches, node.pods.values()))

    def refusals(self, node: NodeInfo) -> list[str]:
        """Return why the pod cannot be on the node because of where other pods are."""
        labels = node.labels
        for spread in self._spreads:
            if not spread.hard:
                continue
            if spread.key not in labels:
                return [SPREAD_LABEL]
            if spread.skew(labels[spread.key]) > spread.max_skew:
                return [SPREAD]
        for term in self._required:
            domain = labels.get(term.key)
            if domain is None or not (term.domains[domain] or self._is_first):
                return [AFFINITY]
        for term in self._forbidden:
            if term.key in labels and term.domains[labels[term.key]]:
                return [ANTI_AFFINITY]
        if any(labels.get(key) == domain for key, domain in self._refused_domains):
            return [EXISTING_ANTI_AFFINITY]
        return []

    def score(self, node: NodeInfo) -> float:
        """Return the soft constraints' part of the node's score."""
        total = 0.0
        for spread in self._spreads:
            if spread.hard:
                continue
            domain = node.labels.get(spread.key)
            if domain is not None:
                fullness = spread.domains.get(domain, 0) / (spread.most + 1)
                total += SPREAD_WEIGHT * 100.0 * (1 - fullness)
        if self._weight_total:
            met = sum(
                weight
                for weight, term in self._preferred
                if term.domains[node.labels.get(term.key, "")]
            )
            total += POD_AFFINITY_WEIGHT * 100.0 * met / self._weight_total
        return total


def _weighted(affinity: JsonObject, pod: PodInfo, sign: int) -> list[tuple[int, _Term]]:
    return [
        (sign * row["weight"], _Term(row["podAffinityTerm"], pod))
        for row in affinity.get(PREFERRED) or ()
    ]


def _domains_refused_by_others(state: ClusterState, pod: PodInfo) -> set[tuple[str, str]]:
    """Return the (label, value) domains where a placed pod's anti-affinity keeps this pod out."""
    refused = set()
    for other in state.anti_affinity_pods.values():
        node = state.nodes[state.node_of(other.uid) or ""]
        for row in other.required_anti_affinity:
            term = _Term(row, other)
            if term.key in node.labels and term.matches(pod):
                refused.add((term.key, node.labels[term.key]))
    return refused


def _selector(term: JsonObject, labels: dict[str, str]) -> LabelSelector:
    """Read a term's selector; matchLabelKeys adds the pod's own values of those labels."""
    selector = term.get("labelSelector")
    keys = [key for key in term.get("matchLabelKeys") or () if key in labels]
    if selector is None or not keys:
        return LabelSelector.from_object(selector)
    own = {key: labels[key] for key in keys}
    return LabelSelector.from_object(
        {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **own}}
    )
