"""Plan the nftables rules of a node: service ports in, a ruleset out. No I/O.

Shape, as kube-proxy's nftables mode has it: verdict maps from address and port to a chain per
service port, so that the cost of a packet does not follow the number of Services; in it, `numgen
random` picks an endpoint chain, which translates the destination. Connections without endpoints
are refused at once, not left to time out.

Source addresses are translated (masqueraded) for: a pod that reaches itself through a Service;
node ports, so that answers come back through this node; clients outside the pod network; pods on
one bridge where bridged packets do not pass netfilter; and pods that talk to the outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.proxy.nft_ruleset import Chain, Ruleset, VerdictMap
from orchestrator.proxy.service_map import Endpoint, ServicePort

TABLE_PREFIX = "orchestrator-"
MASQUERADE_MARK = 0x4000
AFFINITY_CLIENTS_MAX = 65_535
"""Clients remembered for one endpoint."""

_SET_MARK = f"meta mark set meta mark | {MASQUERADE_MARK:#x}"
_ADDRESS = "ipv4_addr . inet_proto . inet_service"
_PORT = "inet_proto . inet_service"
_BY_ADDRESS = "ip daddr . meta l4proto . th dport vmap"
_BY_PORT = "meta l4proto . th dport vmap"


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """What the rules must know about the node."""

    cluster_cidr: str
    """Of all pods of the cluster."""

    node_name: str = ""
    masquerade_bridged: bool = False
    """True where packets between pods of one bridge bypass netfilter, and so would answers."""

    table: str = f"{TABLE_PREFIX}proxy"


def table_name(directory: str) -> str:
    """Return the table of the cluster whose data is in `directory`: two never share one."""
    return TABLE_PREFIX + hashlib.sha256(directory.encode()).hexdigest()[:8]


def plan_rules(ports: Sequence[ServicePort], network: NodeNetwork) -> Ruleset:
    """Return the table for these service ports. The same input gives the same value."""
    sets: dict[str, str] = {}
    chains: dict[str, Chain] = {}
    by_address: dict[str, str] = {}
    by_node_port: dict[str, str] = {}
    refused: dict[str, str] = {}
    refused_ports: dict[str, str] = {}
    for port in ports:
        protocol = port.protocol.lower()
        sets |= _affinity_sets(port)
        chains |= _service_chains(port, network)
        for ip in (port.cluster_ip, *port.external_ips):
            key = f"{ip} . {protocol} . {port.port}"
            if port.endpoints:
                by_address[key] = f"goto {_service(port)}"
            else:
                refused[key] = "goto refuse"
        if port.node_port:
            key = f"{protocol} . {port.node_port}"
            if port.endpoints:
                by_node_port[key] = f"goto {_external(port)}"
            else:
                refused_ports[key] = "goto refuse"
    addresses = sorted({port.cluster_ip for port in ports})
    maps = {
        # A port of our addresses that no Service has is refused.
        "cluster-ips": VerdictMap("ipv4_addr", dict.fromkeys(addresses, "goto refuse")),
        "marked-cluster-ips": VerdictMap(
            "ipv4_addr", dict.fromkeys(addresses, "jump mark-for-masquerade")
        ),
        "service-ips": VerdictMap(_ADDRESS, by_address),
        "service-nodeports": VerdictMap(_PORT, by_node_port),
        "no-endpoint-services": VerdictMap(_ADDRESS, refused),
        "no-endpoint-nodeports": VerdictMap(_PORT, refused_ports),
    }
    return Ruleset(network.table, sets, maps, {**chains, **_base_chains(network)})


def _id(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:12]


def _service(port: ServicePort) -> str:
    return f"service-{_id(port.key, port.protocol)}"


def _external(port: ServicePort) -> str:
    return f"external-{_id(port.key, port.protocol)}"


def _endpoint(port: ServicePort, endpoint: Endpoint) -> str:
    return f"endpoint-{_id(port.key, port.protocol, endpoint.ip, endpoint.port)}"


def _affinity(port: ServicePort, endpoint: Endpoint) -> str:
    identity = (port.key, port.protocol, port.affinity_timeout_s, endpoint.ip, endpoint.port)
    return f"affinity-{_id(*identity)}"


def _affinity_sets(port: ServicePort) -> dict[str, str]:
    if not port.affinity_timeout_s:
        return {}
    text = (
        "type ipv4_addr; flags dynamic,timeout; "
        f"timeout {port.affinity_timeout_s}s; size {AFFINITY_CLIENTS_MAX};"
    )
    return {_affinity(port, endpoint): text for endpoint in port.endpoints}


def _service_chains(port: ServicePort, network: NodeNetwork) -> dict[str, Chain]:
    """Return the chains of one service port: its endpoints', its own, its node port's."""
    if not port.endpoints:
        return {}
    chains = {_endpoint(port, e): Chain(tuple(_endpoint_rules(port, e))) for e in port.endpoints}
    chains[_service(port)] = Chain(tuple(_choose(port, port.endpoints)))
    if not port.node_port:
        return chains
    if not port.local_external:
        chains[_external(port)] = Chain((_SET_MARK, f"goto {_service(port)}"))
        return chains
    local = tuple(e for e in port.endpoints if e.node == network.node_name)
    chains[_external(port)] = Chain(tuple(_choose(port, local)) if local else ("drop",))
    return chains


def _endpoint_rules(port: ServicePort, endpoint: Endpoint) -> Iterator[str]:
    yield f"ip saddr {endpoint.ip} {_SET_MARK}"
    if port.affinity_timeout_s:
        yield f"update @{_affinity(port, endpoint)} {{ ip saddr }}"
    yield f"meta l4proto {port.protocol.lower()} dnat to {endpoint.ip}:{endpoint.port}"


def _choose(port: ServicePort, endpoints: Sequence[Endpoint]) -> Iterator[str]:
    if port.affinity_timeout_s:
        for endpoint in endpoints:
            yield f"ip saddr @{_affinity(port, endpoint)} goto {_endpoint(port, endpoint)}"
    choices = ", ".join(f"{n} : goto {_endpoint(port, e)}" for n, e in enumerate(endpoints))
    yield f"numgen random mod {len(endpoints)} vmap {{ {choices} }}"


def _base_chains(network: NodeNetwork) -> dict[str, Chain]:
    pods = network.cluster_cidr
    leaving = f"ip saddr {pods} ip daddr != {pods} fib daddr type != local masquerade"
    after_mark = f"meta mark set meta mark xor {MASQUERADE_MARK:#x} masquerade fully-random"
    postrouting = [f"meta mark & {MASQUERADE_MARK:#x} != 0 {after_mark}", leaving]
    if network.masquerade_bridged:
        postrouting.append(f"ip saddr {pods} ip daddr {pods} ct status dnat masquerade")
    to_service = "ct state new jump refuse-services"
    return {
        # Reachable from filter hooks only: reject has no place in a nat chain.
        "refuse": Chain(
            ("meta l4proto tcp reject with tcp reset", "reject with icmp type port-unreachable")
        ),
        "refuse-services": Chain(
            (f"{_BY_ADDRESS} @no-endpoint-services", "ip daddr vmap @cluster-ips")
        ),
        "services": Chain(
            (
                f"ip saddr != {pods} ip daddr vmap @marked-cluster-ips",
                f"{_BY_ADDRESS} @service-ips",
                f"fib daddr type local ip daddr != 127.0.0.0/8 {_BY_PORT} @service-nodeports",
            )
        ),
        "mark-for-masquerade": Chain((_SET_MARK,)),
        "nat-prerouting": Chain(
            ("jump services",), "type nat hook prerouting priority dstnat; policy accept;"
        ),
        "nat-output": Chain(
            ("jump services",), "type nat hook output priority -100; policy accept;"
        ),
        "nat-postrouting": Chain(
            tuple(postrouting), "type nat hook postrouting priority srcnat; policy accept;"
        ),
        "filter-input": Chain(
            (
                # The gateway's address is for its own pods: no other link leads to it.
                f'iif != "lo" ip daddr {pods} fib daddr . iif type != local drop',
                f"ct state new fib daddr type local {_BY_PORT} @no-endpoint-nodeports",
            ),
            "type filter hook input priority -110; policy accept;",
        ),
        "filter-forward": Chain(
            (to_service,), "type filter hook forward priority -110; policy accept;"
        ),
        "filter-output": Chain(
            (to_service,), "type filter hook output priority -90; policy accept;"
        ),
    }
