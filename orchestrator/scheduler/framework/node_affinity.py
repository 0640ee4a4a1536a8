"""Which nodes a pod's nodeSelector and node affinity take, and which they prefer."""

from orchestrator.api.json_object import JsonObject
from orchestrator.api.selectors import Operator, Requirement


def matches_node(spec: JsonObject, node_name: str, labels: dict[str, str]) -> bool:
    """Say whether the node meets the pod's nodeSelector AND its required node affinity."""
    selector = spec.get("nodeSelector")
    if selector and not selector.items() <= labels.items():
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    terms = required.get("nodeSelectorTerms") or ()
    return any(matches_term(term, node_name, labels) for term in terms)


def matches_term(term: JsonObject, node_name: str, labels: dict[str, str]) -> bool:
    """Say whether all requirements of one term hold; a term without any takes no node."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    node_fields = {"metadata.name": node_name}
    return all(_requirement(row).matches(labels) for row in expressions) and all(
        _requirement(row).matches(node_fields) for row in fields
    )


def preference(spec: JsonObject, node_name: str, labels: dict[str, str]) -> float:
    """Return the share of the pod's preferred node affinity that the node meets, in [0, 1]."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    total = met = 0
    for row in preferred:
        total += row["weight"]
        if matches_term(row.get("preference") or {}, node_name, labels):
            met += row["weight"]
    return met / total if total else 0.0


def _requirement(row: JsonObject) -> Requirement:
    return Requirement(row["key"], Operator(row["operator"]), tuple(row.get("values") or ()))
