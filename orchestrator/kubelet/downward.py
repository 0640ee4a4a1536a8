"""Fields of a pod and resources of a container, as the downward API names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from orchestrator.api import quantity
from orchestrator.api.json_object import JsonObject, nested_list, nested_object

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(?P<key>[^']+)'\]")


class DownwardError(Exception):
    """The path names nothing that a pod can be told."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the kubelet knows of a pod beyond its spec."""

    pod_ip: str = ""
    host_ip: str = ""
    allocatable: Mapping[str, str] = field(default_factory=dict)
    """The node's, as quantities: the limit of a container that has none."""


def field_value(pod: JsonObject, path: str, facts: PodFacts) -> str:
    """Return the value of `fieldRef.fieldPath`; DownwardError for an unknown path."""
    metadata = pod["metadata"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match["key"], ""))
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(metadata.get(path.removeprefix("metadata."), ""))
        case "metadata.labels" | "metadata.annotations":
            entries = metadata.get(path.removeprefix("metadata.")) or {}
            return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(entries.items()))
        case "spec.nodeName" | "spec.serviceAccountName":
            return str(pod["spec"].get(path.removeprefix("spec."), ""))
        case "status.podIP" | "status.podIPs":
            return facts.pod_ip
        case "status.hostIP" | "status.hostIPs":
            return facts.host_ip
        case _:
            raise DownwardError(f"unsupported fieldPath: {path}")


def resource_value(
    pod: JsonObject, reference: JsonObject, container_name: str, facts: PodFacts
) -> str:
    """Return the value of a `resourceFieldRef`, divided and rounded up as Kubernetes does."""
    name = reference.get("containerName") or container_name
    containers = [*nested_list(pod, "spec", "containers")]
    containers += nested_list(pod, "spec", "initContainers")
    container = next((c for c in containers if c["name"] == name), None)
    if container is None:
        raise DownwardError(f"container {name} not found")
    kind, _, resource = str(reference["resource"]).partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise DownwardError(f"unsupported container resource : {reference['resource']}")
    given = nested_object(container, "resources", kind).get(resource)
    if given is None:
        given = facts.allocatable.get(resource, "0") if kind == "limits" else "0"
    divisor = quantity.parse(reference.get("divisor") or "0") or Fraction(1)
    value = quantity.parse(given) / divisor
    return str(-(-value.numerator // value.denominator))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
