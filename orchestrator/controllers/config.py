"""Settings of the controller manager."""

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ControllerManagerConfig:
    """Validated once, where it is made: `validate` reports all problems together."""

    cluster_cidr: str = "10.244.0.0/16"
    """The network that pods' addresses come from."""
    node_cidr_prefix_length: int = 24
    """Each node gets one subnet of this size."""
    node_monitor_grace_period_s: float = 40.0
    """A node whose lease and status have been silent for longer is Unknown."""
    node_monitor_period_s: float = 5.0
    """How often silence is looked for; shorter than the grace period."""
    root_ca_pem: bytes = b""
    """Published to each namespace as kube-root-ca.crt; empty publishes nothing."""

    def validate(self) -> None:
        """Raise ValueError with everything that is wrong."""
        problems = []
        try:
            network = ipaddress.IPv4Network(self.cluster_cidr)
        except ValueError as exc:
            problems.append(f"cluster_cidr: {exc}")
        else:
            if not network.prefixlen <= self.node_cidr_prefix_length <= 30:
                problems.append(
                    f"node_cidr_prefix_length: {self.node_cidr_prefix_length} does not divide "
                    f"{self.cluster_cidr}"
                )
        if not 0 < self.node_monitor_period_s < self.node_monitor_grace_period_s:
            problems.append("node_monitor_period_s: must be above 0 and below the grace period")
        if problems:
            raise ValueError("; ".join(problems))
