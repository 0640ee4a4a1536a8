"""An owner's selector as a predicate on whole objects."""

from collections.abc import Callable

from orchestrator.api.json_object import JsonObject
from orchestrator.api.selectors import LabelSelector


def selector_of(owner: JsonObject) -> Callable[[JsonObject], bool]:
    """Return whether spec.selector takes an object.

    ReplicationControllers and Services have a plain map of labels, all others a LabelSelector. An
    absent or empty selector takes nothing: a workload of everything is never meant.
    """
    selector = owner["spec"].get("selector")
    if owner["kind"] in ("ReplicationController", "Service"):
        parsed = LabelSelector.from_map(selector)
    else:
        parsed = LabelSelector.from_object(selector or None)
    return lambda obj: parsed.matches(obj["metadata"].get("labels"))
