"""The node's pod network for containerd: a bridge per node, made by the CNI plugins.

The plugins `bridge`, `host-local` and `loopback` do the work; this file writes what they read,
and takes away what they leave. Masquerading and Services belong to the proxy's own nftables
rules, so the bridge plugin's `ipMasq` is off.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

BRIDGE_PREFIX = "orc"
"""Bridges of this program are `orc` and eight hex digits; Linux allows 15 characters."""

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

_CNI_VERSION = "0.4.0"

_LINK_NOT_FOUND = 19
"""ENODEV, as netlink reports a link that does not exist."""


def bridge_name(directory: Path) -> str:
    """Return the bridge's name for the node whose data is in `directory`."""
    digest = hashlib.sha256(str(directory.absolute()).encode()).hexdigest()
    return BRIDGE_PREFIX + digest[:8]


def cni_configuration(bridge: str, pod_cidr: str, leases: Path) -> str:
    """Return the CNI network list: one bridge, addresses of `pod_cidr` recorded in `leases`."""
    network = {
        "cniVersion": _CNI_VERSION,
        "name": "orchestrator",
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(leases),
                },
            }
        ],
    }
    return json.dumps(network, indent=1) + "\n"


class IpForward:
    """The node-wide switch that pod traffic needs, put back as it was at the end.

    The value found is kept in `memory`, a file, so that a later process can restore it.
    """

    def __init__(self, memory: Path, switch: Path = IP_FORWARD) -> None:
        self._memory = memory
        self._switch = switch

    def enable(self) -> None:
        if not self._memory.exists():
            self._memory.write_text(self._switch.read_text())
        self._switch.write_text("1")

    def restore(self) -> None:
        """Put the remembered value back; without one, do nothing."""
        if self._memory.exists():
            self._switch.write_text(self._memory.read_text())
            self._memory.unlink()


def delete_bridge(name: str) -> None:
    """Delete the bridge; do nothing where there is none. Needs CAP_NET_ADMIN."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as routes, suppress(IndexError):
        index = routes.link_lookup(ifname=name)[0]
        try:
            routes.link("del", index=index)
        except NetlinkError as error:
            if error.code != _LINK_NOT_FOUND:
                raise
