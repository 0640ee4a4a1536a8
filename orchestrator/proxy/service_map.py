"""Services and their endpoints as a proxy needs them: one entry per service port. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.api.json_object import JsonObject, nested, nested_list

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
AFFINITY_TIMEOUT_S_DEFAULT = 10_800


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    ip: str
    port: int
    node: str = ""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service, and where its connections may go."""

    namespace: str
    name: str
    port_name: str
    protocol: str
    """TCP, UDP or SCTP."""

    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    affinity_timeout_s: int = 0
    """0: no session affinity."""

    endpoints: tuple[Endpoint, ...] = ()
    """In order; empty means that connections are refused."""

    local_external: bool = False
    """externalTrafficPolicy Local: node ports use this node's endpoints only."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port_name}"


def service_ports(
    services: Iterable[JsonObject], endpoint_slices: Iterable[JsonObject]
) -> list[ServicePort]:
    """Return all ports of all Services that have a cluster IP, in order of key.

    Endpoints are the ready ones; where there are none, those that still serve while they
    terminate, as upstream does.
    """
    slices: dict[tuple[str, str], list[JsonObject]] = {}
    for endpoint_slice in endpoint_slices:
        metadata = endpoint_slice["metadata"]
        service = (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL)
        if service and endpoint_slice.get("addressType") == "IPv4":
            slices.setdefault((metadata["namespace"], service), []).append(endpoint_slice)
    found = []
    for service in services:
        metadata, spec = service["metadata"], service.get("spec") or {}
        if spec.get("clusterIP") in (None, "", "None") or spec.get("type") == "ExternalName":
            continue
        of_service = slices.get((metadata["namespace"], metadata["name"]), [])
        found += [_service_port(service, port, of_service) for port in spec.get("ports") or []]
    return sorted(found, key=lambda port: (port.key, port.protocol))


def _service_port(service: JsonObject, port: JsonObject, slices: list[JsonObject]) -> ServicePort:
    metadata, spec = service["metadata"], service["spec"]
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        timeout = nested(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds")
        affinity = int(timeout or AFFINITY_TIMEOUT_S_DEFAULT)
    balancers = nested_list(service, "status", "loadBalancer", "ingress")
    external = [*(spec.get("externalIPs") or ()), *(b["ip"] for b in balancers if b.get("ip"))]
    return ServicePort(
        namespace=metadata["namespace"],
        name=metadata["name"],
        port_name=port.get("name") or "",
        protocol=port.get("protocol") or "TCP",
        cluster_ip=spec["clusterIP"],
        port=int(port["port"]),
        node_port=int(port.get("nodePort") or 0),
        external_ips=tuple(external),
        affinity_timeout_s=affinity,
        endpoints=_endpoints(port, slices),
        local_external=spec.get("externalTrafficPolicy") == "Local",
    )


def _endpoints(port: JsonObject, slices: list[JsonObject]) -> tuple[Endpoint, ...]:
    ready: set[Endpoint] = set()
    terminating: set[Endpoint] = set()
    for endpoint_slice in slices:
        number = _slice_port(port, endpoint_slice)
        if number is None:
            continue
        for row in endpoint_slice.get("endpoints") or []:
            conditions = row.get("conditions") or {}
            addresses = row.get("addresses") or []
            if not addresses:
                continue
            endpoint = Endpoint(addresses[0], number, row.get("nodeName") or "")
            if conditions.get("ready", True) is not False:
                ready.add(endpoint)
            elif conditions.get("serving") and conditions.get("terminating"):
                terminating.add(endpoint)
    return tuple(sorted(ready or terminating))


def _slice_port(port: JsonObject, endpoint_slice: JsonObject) -> int | None:
    name, protocol = port.get("name") or "", port.get("protocol") or "TCP"
    for row in endpoint_slice.get("ports") or []:
        same = (row.get("name") or "", row.get("protocol") or "TCP") == (name, protocol)
        if same and row.get("port") is not None:
            return int(row["port"])
    return None
