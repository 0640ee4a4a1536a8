"""Where placed pods' required anti-affinity keeps other pods out.

Pods of one workload carry the same term: they are one group, parsed once, with the nodes they are
on. A pod to place is compared with each group, not with each pod.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from orchestrator.api.json_object import JsonObject
from orchestrator.scheduler.framework.pod_info import PodInfo
from orchestrator.scheduler.framework.pod_term import PodTerm


@dataclass(slots=True)
class _Group:
    term: PodTerm
    nodes: Counter[str] = field(default_factory=Counter)
    """How many pods with the term are on each node. Invariant: no node has 0."""


class AntiAffinityGroups:
    """All placed pods' required anti-affinity terms."""

    def __init__(self) -> None:
        self._groups: dict[bytes, _Group] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, pod: PodInfo, node_name: str) -> None:
        """Count the pod's terms on the node."""
        for term in pod.required_anti_affinity:
            key = _identity(term, pod)
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = _Group(PodTerm(term, pod.namespace, pod.labels))
            group.nodes[node_name] += 1

    def remove(self, pod: PodInfo, node_name: str) -> None:
        """Take back what `add` counted for the same pod and node."""
        for term in pod.required_anti_affinity:
            key = _identity(term, pod)
            nodes = self._groups[key].nodes
            nodes[node_name] -= 1
            if not nodes[node_name]:
                del nodes[node_name]
                if not nodes:
                    del self._groups[key]

    def refused_domains(
        self, pod: PodInfo, labels_of: Callable[[str], Mapping[str, str]]
    ) -> dict[str, set[str]]:
        """Return the domains that some group keeps this pod out of: values by label.

        Costs O(groups + nodes of the groups that speak of the pod).
        """
        refused: dict[str, set[str]] = {}
        for group in self._groups.values():
            if group.term.matches(pod):
                key = group.term.key
                for node_name in group.nodes:
                    domain = labels_of(node_name).get(key)
                    if domain is not None:
                        refused.setdefault(key, set()).add(domain)
        return refused


def _identity(term: JsonObject, pod: PodInfo) -> bytes:
    """Equal for terms that speak of the same pods."""
    labels = pod.labels if term.get("matchLabelKeys") else None
    return orjson.dumps([pod.namespace, term, labels], option=orjson.OPT_SORT_KEYS)
