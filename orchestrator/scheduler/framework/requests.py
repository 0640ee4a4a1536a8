"""What a pod asks of a node, in whole numbers."""

from collections.abc import Iterable
from typing import Final

from orchestrator.api.json_object import JsonObject
from orchestrator.api.quantity import milli_value, value

Amounts = dict[str, int]
"""By resource name: cpu in thousandths, everything else in its unit (bytes, pieces)."""

UNREQUESTED_CPU: Final = 100
UNREQUESTED_MEMORY: Final = 200 << 20
"""Scoring counts a pod that requests nothing as if it asked for these, or all such pods would
land on one node."""


def amounts(quantities: JsonObject | None) -> Amounts:
    """Parse a map of quantities."""
    return {
        name: milli_value(text) if name == "cpu" else value(text)
        for name, text in (quantities or {}).items()
    }


def pod_requests(spec: JsonObject) -> Amounts:
    """Return what the node must have free for the pod.

    Containers run together with sidecars (init containers that restart always), so those add up.
    Plain init containers run one after another before, each beside the sidecars started so far: the
    largest such moment counts, if it is larger. The runtime class's overhead comes on top.
    """
    together = _sum(_requests(container) for container in spec.get("containers") or ())
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        requested = _requests(container)
        moment = _sum((sidecars, requested))
        if container.get("restartPolicy") == "Always":
            sidecars = moment
        peak = _largest(peak, moment)
    total = _largest(_sum((together, sidecars)), peak)
    return _sum((total, amounts(spec.get("overhead"))))


def _requests(container: JsonObject) -> Amounts:
    """A limit without a request is a request of the same size."""
    resources = container.get("resources") or {}
    return {**amounts(resources.get("limits")), **amounts(resources.get("requests"))}


def _sum(parts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _largest(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in left.keys() | right.keys()}
