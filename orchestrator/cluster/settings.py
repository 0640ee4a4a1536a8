"""What a person asked of `orchestrator up`, checked once."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

RUNTIMES = ("auto", "containerd", "process", "hollow")
MEMBERS_MAX = 7
NODES_MAX = 5_000

CONTAINER_SERVICE_CIDR = "10.96.0.0/16"
CONTAINER_CLUSTER_CIDR = "10.244.0.0/16"
LOOPBACK_SERVICE_CIDR = "127.96.0.0/16"
LOOPBACK_CLUSTER_CIDR = "127.64.0.0/16"
"""The process runtime gives pods and Services loopback addresses: they need no privilege."""


class SettingsError(ValueError):
    """What was asked for cannot be; the message lists every reason."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Immutable for the life of a cluster; kept in its data directory."""

    data_dir: Path
    kubeconfig: Path
    nodes: int = 1
    runtime: str = "auto"
    members: int = 1
    """raftkv members to start; 0 where `etcd_servers` names a store that runs already."""
    etcd_servers: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 6443
    """Preferred; another one is taken where it is in use."""
    node_monitor_grace_period_s: float = 40.0

    def validate(self) -> None:
        """Raise SettingsError with every problem at once."""
        problems = []
        if self.runtime not in RUNTIMES:
            problems.append(f"--runtime {self.runtime}: choose one of {', '.join(RUNTIMES)}")
        if not 1 <= self.nodes <= NODES_MAX:
            problems.append(f"--nodes {self.nodes}: between 1 and {NODES_MAX}")
        if self.nodes > 1 and self.runtime != "hollow":
            problems.append(
                f"--nodes {self.nodes}: several nodes on one machine need --runtime hollow for now"
            )
        if not 0 <= self.members <= MEMBERS_MAX:
            problems.append(f"--members {self.members}: between 1 and {MEMBERS_MAX}")
        if self.members == 0 and not self.etcd_servers:
            problems.append("--members 0 needs --etcd-servers")
        if len(os.fsencode(self.data_dir)) > 80:
            problems.append(
                f"--data-dir {self.data_dir}: over 80 bytes, which is too long for sockets in it"
            )
        if problems:
            raise SettingsError("; ".join(problems))

    @property
    def service_cidr(self) -> str:
        return LOOPBACK_SERVICE_CIDR if self.runtime == "process" else CONTAINER_SERVICE_CIDR

    @property
    def cluster_cidr(self) -> str:
        return LOOPBACK_CLUSTER_CIDR if self.runtime == "process" else CONTAINER_CLUSTER_CIDR

    def to_json(self) -> str:
        values = asdict(self)
        values["data_dir"], values["kubeconfig"] = str(self.data_dir), str(self.kubeconfig)
        return json.dumps(values, indent=2)

    @classmethod
    def from_json(cls, text: str) -> ClusterSettings:
        values = json.loads(text)
        values["data_dir"], values["kubeconfig"] = (
            Path(values["data_dir"]),
            Path(values["kubeconfig"]),
        )
        values["etcd_servers"] = tuple(values["etcd_servers"])
        return cls(**values)


def default_data_dir() -> Path:
    """The system's place for root, the user's own for others."""
    if os.geteuid() == 0:
        return Path("/var/lib/orchestrator")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "orchestrator"
