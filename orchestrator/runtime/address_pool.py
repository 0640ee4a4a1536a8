"""Pod addresses of one node, handed out in turn."""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Iterator

from orchestrator.runtime.protocol import RuntimeFailure


class AddressPool:
    """Addresses of a range. One that was given back is used again last."""

    def __init__(self) -> None:
        self._range = ""
        self._fresh: Iterator[str] = iter(())
        self._returned: deque[str] = deque()

    @property
    def known(self) -> bool:
        """True once there is a range."""
        return bool(self._range)

    def set_range(self, cidr: str) -> None:
        """Hand out addresses of `cidr` from now on; ValueError where it is no range."""
        if cidr == self._range:
            return
        hosts = ipaddress.IPv4Network(cidr).hosts()
        next(hosts, None)  # the gateway's, on a node that has one
        self._range, self._fresh = cidr, map(str, hosts)
        self._returned.clear()

    def take(self) -> str:
        """Return a free address; RuntimeFailure where there is none."""
        ip = next(self._fresh, "") or (self._returned.popleft() if self._returned else "")
        if not ip:
            raise RuntimeFailure("no pod address is free: is the node's pod CIDR known?")
        return ip

    def give_back(self, ip: str) -> None:
        """Take an address back; one of another range is forgotten."""
        if ip and self._range and ipaddress.ip_address(ip) in ipaddress.ip_network(self._range):
            self._returned.append(ip)
