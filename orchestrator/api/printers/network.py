"""Services, and the endpoints behind them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from orchestrator.api.json_object import JsonObject, nested, nested_list, nested_object
from orchestrator.api.printers.printer import (
    AGE,
    NAME,
    NONE,
    Cells,
    Printer,
    age_of,
    labels_text,
    name_of,
    selector_text,
    text,
    text_at,
    wide,
)

SHOWN_MAX = 3
"""Endpoints listed before "+ n more..."."""


def _external_ip(spec: JsonObject, status: JsonObject) -> str:
    addresses = list(nested_list(spec, "externalIPs"))
    match spec.get("type"):
        case "ExternalName":
            return spec.get("externalName") or NONE
        case "LoadBalancer":
            ingress = nested_list(status, "loadBalancer", "ingress")
            found = [row.get("ip") or row.get("hostname") or "" for row in ingress]
            return ",".join([*found, *addresses]) or "<pending>"
        case _:
            return ",".join(addresses) or NONE


def _ports(spec: JsonObject) -> str:
    cells = []
    for port in nested_list(spec, "ports"):
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        cells.append(f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(cells) or NONE


def _service(obj: JsonObject, now: datetime) -> Cells:
    spec = nested_object(obj, "spec")
    return [
        name_of(obj),
        text_at(obj, "spec", "type", absent=""),
        text_at(obj, "spec", "clusterIP"),
        _external_ip(spec, nested_object(obj, "status")),
        _ports(spec),
        age_of(obj, now),
        labels_text(spec.get("selector")),
    ]


def _shown(cells: list[str]) -> str:
    more = f" + {len(cells) - SHOWN_MAX} more..." if len(cells) > SHOWN_MAX else ""
    return ",".join(cells[:SHOWN_MAX]) + more if cells else NONE


def _subset_addresses(obj: JsonObject) -> Iterator[str]:
    for subset in nested_list(obj, "subsets"):
        for address in subset.get("addresses") or ():
            ip = address.get("ip", "")
            host = f"[{ip}]" if ":" in ip else ip
            ports = subset.get("ports") or ()
            if not ports:
                yield host
            for port in ports:
                yield f"{host}:{port.get('port')}"


def _endpoints(obj: JsonObject, now: datetime) -> Cells:
    return [name_of(obj), _shown(list(_subset_addresses(obj))), age_of(obj, now)]


def _endpoint_slice(obj: JsonObject, now: datetime) -> Cells:
    ports = [str(port.get("port") or "*") for port in nested_list(obj, "ports")]
    addresses = [
        address for row in nested_list(obj, "endpoints") for address in row.get("addresses") or ()
    ]
    return [
        name_of(obj),
        text_at(obj, "addressType", absent=""),
        _shown(ports) if ports else "<unset>",
        _shown(addresses) if addresses else "<unset>",
        age_of(obj, now),
    ]


def _ingress(obj: JsonObject, now: datetime) -> Cells:
    rules = nested_list(obj, "spec", "rules")
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    ingress = nested_list(obj, "status", "loadBalancer", "ingress")
    return [
        name_of(obj),
        text_at(obj, "spec", "ingressClassName"),
        _shown(hosts) if hosts else "*",
        ",".join(row.get("ip") or row.get("hostname") or "" for row in ingress),
        "80, 443" if nested(obj, "spec", "tls") else "80",
        age_of(obj, now),
    ]


def _network_policy(obj: JsonObject, now: datetime) -> Cells:
    selector = selector_text(nested(obj, "spec", "podSelector") or {})
    return [name_of(obj), selector, age_of(obj, now)]


PRINTERS = {
    ("", "Service"): Printer(
        (
            NAME,
            text("Type"),
            text("Cluster-IP"),
            text("External-IP"),
            text("Port(s)"),
            AGE,
            wide("Selector"),
        ),
        _service,
    ),
    ("", "Endpoints"): Printer((NAME, text("Endpoints"), AGE), _endpoints),
    ("discovery.k8s.io", "EndpointSlice"): Printer(
        (NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE), _endpoint_slice
    ),
    ("networking.k8s.io", "Ingress"): Printer(
        (NAME, text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE), _ingress
    ),
    ("networking.k8s.io", "NetworkPolicy"): Printer(
        (NAME, text("Pod-Selector"), AGE), _network_policy
    ),
}
