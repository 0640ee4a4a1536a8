"""Refuse, by name, what a pod asks for and this kubelet cannot do.

A pod that is refused waits, with a FailedCreatePodSandBox event that says why; it is not
failed, because its owner would only make another one.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.api.json_object import JsonObject, nested_list
from orchestrator.kubelet.pod_view import containers_of, init_containers_of

_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def unsupported_features(pod: JsonObject) -> list[str]:
    """Describe what is asked for and not there, volumes aside."""
    found = []
    host_network = bool(pod["spec"].get("hostNetwork"))
    for container in [*init_containers_of(pod), *containers_of(pod)]:
        texts = _of_container(container, host_network)
        found += [f'container "{container["name"]}": {text}' for text in texts]
    return found


def _of_container(container: JsonObject, host_network: bool) -> Iterator[str]:
    for port in nested_list(container, "ports"):
        if port.get("hostPort") and not host_network:
            yield f"hostPort {port['hostPort']} is not supported; use a NodePort Service"
    for kind in _PROBES:
        if (container.get(kind) or {}).get("grpc") is not None:
            yield f"{kind}: grpc probes are not supported"
    if container.get("volumeDevices"):
        yield "volumeDevices are not supported"
