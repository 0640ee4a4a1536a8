"""The addresses behind a Service, as Endpoints and as EndpointSlices."""

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any, Final

from orchestrator.api.json_object import JsonObject
from orchestrator.controllers.owner_reference import controller_reference
from orchestrator.controllers.pod_state import is_finished, is_ready, is_terminating, node_name
from orchestrator.controllers.template_hash import template_hash

SERVICE_NAME: Final = "kubernetes.io/service-name"
MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
MANAGER: Final = "endpointslice-controller.k8s.io"
HEADLESS: Final = "service.kubernetes.io/headless"
SLICE_ENDPOINTS_MAX: Final = 100
ENDPOINTS_ADDRESSES_MAX: Final = 1000
OVER_CAPACITY: Final = "endpoints.kubernetes.io/over-capacity"

Ports = tuple[tuple[str, str, int | None, str], ...]
"""Name, protocol, port, appProtocol; the port is None where the Service has no ports at all."""


def is_headless(service: JsonObject) -> bool:
    """Say whether the Service has no cluster address on purpose."""
    return bool(service["spec"].get("clusterIP") == "None")


def backends(service: JsonObject, pods: Iterable[JsonObject]) -> list[JsonObject]:
    """Return the pods that have an address and have not finished, in a stable order."""
    found = [pod for pod in pods if (pod.get("status") or {}).get("podIP") and not is_finished(pod)]
    return sorted(found, key=lambda pod: pod["metadata"]["name"])


def resolve_ports(service: JsonObject, pod: JsonObject) -> Ports:
    """Return the ports that the Service reaches on this pod; a name that it lacks is left out."""
    resolved = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol", "TCP")
        target = port.get("targetPort", port["port"])
        if isinstance(target, str):
            target = _named_port(pod, target, protocol)
            if target is None:
                continue
        number: int = target or port["port"]
        resolved.append((port.get("name", ""), protocol, number, port.get("appProtocol", "")))
    return tuple(resolved)


def _named_port(pod: JsonObject, name: str, protocol: str) -> int | None:
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == name and port.get("protocol", "TCP") == protocol:
                number: int = port["containerPort"]
                return number
    return None


def plan_endpoints(service: JsonObject, pods: Iterable[JsonObject]) -> JsonObject:
    """Return the Endpoints object for the Service: one subset per set of resolved ports."""
    publish_all = bool(service["spec"].get("publishNotReadyAddresses"))
    subsets: dict[Ports, dict[str, list[JsonObject]]] = {}
    total = 0
    for pod in backends(service, pods):
        if is_terminating(pod) and not publish_all:
            continue
        ports = resolve_ports(service, pod)
        if not ports and not (is_headless(service) and not service["spec"].get("ports")):
            continue
        total += 1
        if total > ENDPOINTS_ADDRESSES_MAX:
            break
        field = "addresses" if publish_all or is_ready(pod) else "notReadyAddresses"
        subset = subsets.setdefault(ports, {})
        subset.setdefault(field, []).append(_address(service, pod))
    metadata = _metadata(service, service["metadata"]["name"])
    if total > ENDPOINTS_ADDRESSES_MAX:
        metadata["annotations"] = {OVER_CAPACITY: "truncated"}
    endpoints: JsonObject = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
    if subsets:
        endpoints["subsets"] = [
            {**addresses, **({"ports": _ports(ports)} if ports else {})}
            for ports, addresses in sorted(subsets.items(), key=lambda item: str(item[0]))
        ]
    return endpoints


def _address(service: JsonObject, pod: JsonObject) -> JsonObject:
    address: JsonObject = {"ip": pod["status"]["podIP"], "targetRef": _target(pod)}
    if node_name(pod):
        address["nodeName"] = node_name(pod)
    if hostname := _hostname(service, pod):
        address["hostname"] = hostname
    return address


def _hostname(service: JsonObject, pod: JsonObject) -> str:
    """A pod has a name under a headless Service only if it says that it belongs there."""
    belongs = pod["spec"].get("subdomain") == service["metadata"]["name"]
    return (pod["spec"].get("hostname") or "") if belongs else ""


def _target(pod: JsonObject) -> JsonObject:
    metadata = pod["metadata"]
    return {
        "kind": "Pod",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _ports(ports: Ports) -> list[JsonObject]:
    rows = []
    for name, protocol, number, app_protocol in ports:
        row: JsonObject = {"port": number, "protocol": protocol}
        if name:
            row["name"] = name
        if app_protocol:
            row["appProtocol"] = app_protocol
        rows.append(row)
    return rows


def _metadata(service: JsonObject, name: str) -> JsonObject:
    labels = dict(service["metadata"].get("labels") or {})
    if is_headless(service):
        labels[HEADLESS] = ""
    metadata: JsonObject = {"name": name, "namespace": service["metadata"]["namespace"]}
    if labels:
        metadata["labels"] = labels
    return metadata


def plan_slices(
    service: JsonObject,
    pods: Iterable[JsonObject],
    zone_of: Callable[[str], str],
) -> list[JsonObject]:
    """Return the content of the Service's EndpointSlices; `match_slices` gives them their names.

    Slices hold at most SLICE_ENDPOINTS_MAX endpoints of one set of resolved ports. A Service
    without endpoints has one empty slice. `zone_of` gives a node's zone, or an empty text.
    """
    groups: dict[Ports, list[JsonObject]] = {}
    for pod in backends(service, pods):
        ports = resolve_ports(service, pod)
        groups.setdefault(ports, []).append(_endpoint(service, pod, zone_of))
    slices = []
    for ports, endpoints in sorted(groups.items(), key=lambda item: str(item[0])):
        for start in range(0, len(endpoints), SLICE_ENDPOINTS_MAX):
            part = endpoints[start : start + SLICE_ENDPOINTS_MAX]
            slices.append(_slice(service, ports, part))
    return slices or [_slice(service, (), [])]


def _endpoint(service: JsonObject, pod: JsonObject, zone_of: Callable[[str], str]) -> JsonObject:
    terminating = is_terminating(pod)
    serving = is_ready(pod)
    publish_all = bool(service["spec"].get("publishNotReadyAddresses"))
    endpoint: JsonObject = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": publish_all or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": _target(pod),
    }
    node = node_name(pod)
    if node:
        endpoint["nodeName"] = node
        if zone := zone_of(node):
            endpoint["zone"] = zone
    if hostname := _hostname(service, pod):
        endpoint["hostname"] = hostname
    return endpoint


def _slice(service: JsonObject, ports: Ports, endpoints: Sequence[JsonObject]) -> JsonObject:
    metadata = _metadata(service, service["metadata"]["name"])
    labels = {SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: MANAGER}
    metadata["labels"] = {**metadata.get("labels", {}), **labels}
    metadata["ownerReferences"] = [controller_reference(service)]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [_slice_port(port) for port in ports],
    }


def _slice_port(port: tuple[str, str, int | None, str]) -> dict[str, Any]:
    """A slice's port has its name always, the empty one too."""
    name, protocol, number, app_protocol = port
    row: dict[str, Any] = {"name": name, "port": number, "protocol": protocol}
    if app_protocol:
        row["appProtocol"] = app_protocol
    return row


def match_slices(
    wanted: Sequence[JsonObject], existing: Sequence[JsonObject]
) -> tuple[list[JsonObject], list[JsonObject], list[JsonObject]]:
    """Pair wanted contents with existing slices; return what to create, update and delete.

    Those that share the most addresses of the same ports are paired, so that one pod's change
    writes one slice.
    """
    free = list(existing)
    used = {endpoint_slice["metadata"]["name"] for endpoint_slice in existing}
    create, update = [], []
    for content in wanted:
        addresses = _addresses(content)
        candidates = [s for s in free if s.get("ports") == content["ports"]] or free
        best = max(candidates, key=lambda s: len(_addresses(s) & addresses), default=None)
        if best is None:
            create.append(_named(content, used))
            continue
        free.remove(best)
        fields = ("endpoints", "ports")
        same = all((best.get(f) or []) == content[f] for f in fields)
        same_labels = best["metadata"].get("labels") == content["metadata"]["labels"]
        if not (same and same_labels):
            metadata = {**best["metadata"], "labels": content["metadata"]["labels"]}
            update.append({**best, "metadata": metadata, **{f: content[f] for f in fields}})
    return create, update, free


def _named(content: JsonObject, used: set[str]) -> JsonObject:
    """Name a new slice by the Service's uid and the first free number.

    The same state gives the same name, so that a create repeated on a cache that is behind is
    refused by the server instead of making a second slice.
    """
    metadata = content["metadata"]
    uid = metadata["ownerReferences"][0]["uid"]
    names = (
        f"{metadata['name'][:57]}-{template_hash({'uid': uid, 'number': number})[:5]}"
        for number in count()
    )
    name = next(name for name in names if name not in used)
    used.add(name)
    return {**content, "metadata": {**metadata, "name": name}}


def _addresses(endpoint_slice: JsonObject) -> set[str]:
    return {e["addresses"][0] for e in endpoint_slice.get("endpoints") or ()}
