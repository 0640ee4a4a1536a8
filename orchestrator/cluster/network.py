"""Which of the machine's pod and Service networks a cluster has: two clusters never share one.

A claim is an abstract unix socket that the daemon keeps bound: the kernel grants each name once
per network namespace, which is exactly where addresses would collide, and takes it back when the
process ends, however it ends.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

NETWORKS_MAX = 12
"""Clusters with pods of one kind on one machine: 10.244.0.0/16 up to 10.255.0.0/16."""

ROUTES = Path("/proc/net/route")


class NetworkTakenError(Exception):
    """No network is left, or the one that this cluster's objects live in is somebody else's."""


def cluster_cidr(number: int, *, loopback: bool) -> str:
    """The pods' addresses. Loopback ones need no privilege; the process runtime has them."""
    return f"127.{64 + number}.0.0/16" if loopback else f"10.{244 + number}.0.0/16"


def service_cidr(number: int, *, loopback: bool) -> str:
    """The Services' addresses."""
    return f"127.{96 + number}.0.0/16" if loopback else f"10.{96 + number}.0.0/16"


class NetworkClaim:
    """One network, held until `close`."""

    def __init__(self, number: int, held: socket.socket) -> None:
        self.number = number
        self._held = held

    def close(self) -> None:
        self._held.close()


def claim_network(wanted: int | None, *, loopback: bool, own_link: str = "") -> NetworkClaim:
    """Claim network `wanted`, or the first free one where it is None.

    Routes through `own_link` do not count against a network. Raises NetworkTakenError.
    """
    numbers = range(NETWORKS_MAX) if wanted is None else (wanted,)
    reasons = []
    for number in numbers:
        reason = "" if loopback else _routed(number, own_link)
        held = None if reason else _hold(number, loopback=loopback)
        if held is not None:
            return NetworkClaim(number, held)
        cidr = cluster_cidr(number, loopback=loopback)
        reasons.append(f"{cidr} is {reason or 'the network of another cluster'}")
    if wanted is None:
        raise NetworkTakenError(f"no network is left for pods: {'; '.join(reasons)}")
    raise NetworkTakenError(
        f"this cluster's objects have addresses in a network that is not free: {reasons[0]}; "
        "stop the other one, or begin anew with `orchestrator down --purge`"
    )


def _hold(number: int, *, loopback: bool) -> socket.socket | None:
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(f"\0orchestrator-{'loopback' if loopback else 'pods'}-{number}")
    except OSError:
        held.close()
        return None
    return held


def _routed(number: int, own_link: str) -> str:
    """Say which link leads into one of the two networks already, "" for none."""
    wanted = [
        ipaddress.ip_network(cluster_cidr(number, loopback=False)),
        ipaddress.ip_network(service_cidr(number, loopback=False)),
    ]
    for link, network in _routes():
        if link != own_link and any(network.overlaps(own) for own in wanted):
            return f"reached through {link} already (route {network})"
    return ""


def _routes() -> Iterator[tuple[str, ipaddress.IPv4Network]]:
    """Give (link, destination) of every route but the default ones."""
    try:
        lines = ROUTES.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        address, mask = (ipaddress.IPv4Address(bytes.fromhex(fields[at])[::-1]) for at in (1, 7))
        if int(mask):
            yield fields[0], ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
