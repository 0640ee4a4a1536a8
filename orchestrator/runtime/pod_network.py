"""The node's pod network for containerd: a bridge per node, made by the CNI plugins.

The plugins `bridge`, `host-local` and `loopback` do the work; this file writes what they read,
and takes away what they leave. Masquerading and Services belong to the proxy's own nftables
rules, so the bridge plugin's `ipMasq` is off.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BRIDGE_PREFIX = "orc"
"""Bridges of this program are `orc` and eight hex digits; Linux allows 15 characters."""

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

IP_FORWARD_USERS = Path("/run/orchestrator-ip-forward")
"""Shared by all clusters of the machine."""

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
    """The machine-wide switch that pod traffic needs, put back as it was by its last user.

    `owner` is the directory of a node. Each owner that needs forwarding has a file in `users`,
    next to the value that the first of them found. Owners whose directory is gone count no more.
    """

    def __init__(
        self, owner: Path, switch: Path = IP_FORWARD, users: Path = IP_FORWARD_USERS
    ) -> None:
        self._owner = owner.absolute()
        self._switch = switch
        self._users = users

    def enable(self) -> None:
        """Switch forwarding on in the owner's name; safe to repeat."""
        self._users.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            before = self._users / "before"
            if not before.exists():
                before.write_text(self._switch.read_text())
            self._file().write_text(str(self._owner))
            self._switch.write_text("1")

    def restore(self) -> None:
        """Give up the owner's claim; the last one restores the value found at first."""
        if not self._file().exists():
            return
        with self._locked():
            self._file().unlink(missing_ok=True)
            for other in self._users.glob("*.user"):
                if Path(other.read_text()).is_dir():
                    return
                other.unlink()
            self._switch.write_text((self._users / "before").read_text())
            (self._users / "before").unlink()
        shutil.rmtree(self._users, ignore_errors=True)

    def _file(self) -> Path:
        digest = hashlib.sha256(str(self._owner).encode()).hexdigest()[:16]
        return self._users / f"{digest}.user"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self._users / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


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
