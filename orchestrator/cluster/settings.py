"""What a person asked of `orchestrator up`, checked once."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from orchestrator.cluster import network

SETTINGS_NAME = "settings.json"

RUNTIMES = ("auto", "containerd", "process", "hollow")
MEMBERS_MAX = 7
NODES_MAX = 5_000


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
    network: int | None = None
    """Which of the machine's pod and Service networks; None until the first start chose one."""

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
    def on_loopback(self) -> bool:
        """Whether pods and Services have loopback addresses."""
        return self.runtime == "process"

    def following(self, earlier: ClusterSettings) -> ClusterSettings:
        """Give these settings with what the objects of an earlier start bind us to.

        Raises SettingsError where they cannot live under this runtime.
        """
        runtime = earlier.runtime if self.runtime == "auto" else self.runtime
        if "auto" in (runtime, earlier.runtime):
            return self
        if (runtime == "process") != earlier.on_loopback:
            raise SettingsError(
                f"--runtime {runtime}: the objects in {self.data_dir} were made under --runtime "
                f"{earlier.runtime} and have its addresses; name another --data-dir, or remove "
                "them by `orchestrator down --purge`"
            )
        return replace(self, runtime=runtime, network=earlier.network)

    def save(self) -> None:
        """Write them into the data directory, which is made where it is missing."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self.data_dir / f"{SETTINGS_NAME}.new"
        partial.write_text(self.to_json())
        partial.replace(self.data_dir / SETTINGS_NAME)

    @classmethod
    def load(cls, data_dir: Path) -> ClusterSettings | None:
        """Read what `save` wrote; None where no cluster was ever started from there."""
        try:
            return cls.from_json((data_dir / SETTINGS_NAME).read_text())
        except FileNotFoundError:
            return None

    @property
    def service_cidr(self) -> str:
        return network.service_cidr(self.network or 0, loopback=self.on_loopback)

    @property
    def cluster_cidr(self) -> str:
        return network.cluster_cidr(self.network or 0, loopback=self.on_loopback)

    @property
    def pod_gateway(self) -> str:
        """The node's address on its pods' bridge; "" where pods have no network of their own."""
        if self.runtime != "containerd":
            return ""
        return str(ipaddress.IPv4Network(self.cluster_cidr)[1])

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
