"""Which pods an affinity term or a spread constraint speaks of."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.api.json_object import JsonObject
from orchestrator.api.selectors import LabelSelector
from orchestrator.scheduler.framework.pod_info import PodInfo


class PodTerm:
    """A parsed term: a topology key, namespaces, and a selector."""

    __slots__ = ("_every_namespace", "_namespaces", "_selector", "key")

    def __init__(self, term: JsonObject, namespace: str, labels: Mapping[str, str]) -> None:
        """`namespace` and `labels` are those of the pod that carries the term.

        Without namespaces the term speaks of that namespace; with an empty namespaceSelector, of
        all. `matchLabelKeys` adds the pod's own values of those labels to the selector.
        """
        self.key: str = term["topologyKey"]
        self._selector = _selector(term, labels)
        self._namespaces = frozenset(term.get("namespaces") or ())
        self._every_namespace = term.get("namespaceSelector") == {}
        if not self._namespaces and "namespaceSelector" not in term:
            self._namespaces = frozenset((namespace,))

    def matches(self, pod: PodInfo) -> bool:
        """Say whether the term speaks of this pod."""
        in_namespace = self._every_namespace or pod.namespace in self._namespaces
        return in_namespace and self._selector.matches(pod.labels)


def _selector(term: JsonObject, labels: Mapping[str, str]) -> LabelSelector:
    selector = term.get("labelSelector")
    keys = [key for key in term.get("matchLabelKeys") or () if key in labels]
    if selector is None or not keys:
        return LabelSelector.from_object(selector)
    own = {key: labels[key] for key in keys}
    return LabelSelector.from_object(
        {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **own}}
    )
