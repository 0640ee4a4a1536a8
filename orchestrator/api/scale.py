"""The Scale view of kinds with replicas: what `/scale` reads and writes."""

from __future__ import annotations

from orchestrator.api.errors import invalid, invalid_value
from orchestrator.api.json_object import JsonObject, copy_json, ensure_object, nested
from orchestrator.api.resource import Resource
from orchestrator.api.selectors import LabelSelector
from orchestrator.api.strategy import ScaleMapping


def _mapping(resource: Resource) -> ScaleMapping:
    mapping = resource.strategy.scale
    assert mapping is not None, f"{resource.kind} has no scale"
    return mapping


def to_scale(resource: Resource, obj: JsonObject) -> JsonObject:
    """Return the `autoscaling/v1` Scale of an object."""
    mapping = _mapping(resource)
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = nested(obj, *mapping.selector)
    if mapping.selector_is_map:
        text = str(LabelSelector.from_map(selector))
    else:
        text = str(LabelSelector.from_object(selector))
    status: JsonObject = {"replicas": nested(obj, *mapping.status_replicas) or 0}
    if text:
        status["selector"] = text
    replicas = nested(obj, *mapping.replicas)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


class _ScaleName:
    group, plural, kind = "autoscaling", "scales", "Scale"


def with_scale(resource: Resource, obj: JsonObject, scale: JsonObject) -> JsonObject:
    """Return a copy of `obj` with the replicas of `scale`; StatusError 422 below zero.

    The engine compares `scale`'s resourceVersion and uid with the object's before.
    """
    replicas = nested(scale, "spec", "replicas") or 0
    if replicas < 0:
        error = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid(_ScaleName(), obj["metadata"]["name"], [error])
    changed: JsonObject = copy_json(obj)
    path = _mapping(resource).replicas
    ensure_object(changed, *path[:-1])[path[-1]] = replicas
    return changed
