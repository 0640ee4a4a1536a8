"""What a kubelet is told at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.api.json_object import JsonObject


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """The kubelet's own TLS server, which the API server asks for logs."""

    host: str
    cert_file: Path
    key_file: Path
    client_ca_file: Path
    port: int = 0
    """0 takes a free one; the node's status tells which."""


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """Settings of one node's kubelet. Times are in seconds."""

    node_name: str
    data_dir: Path
    """Holds `pods/<uid>/` (volumes, termination messages) and `logs/` (container logs)."""

    node_ip: str = "127.0.0.1"
    serving: ServingConfig | None = None
    """None: no server, so no `kubectl logs` from this node."""

    pod_cidr: str = ""
    """Used where nobody gives the node a `spec.podCIDR`; empty waits for it."""

    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[JsonObject, ...] = ()
    capacity: Mapping[str, str] = field(default_factory=dict)
    """Quantities that replace what the machine has; `pods` is 110 unless named here."""

    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    lease_interval_s: float = 10.0
    lease_duration_s: int = 40
    status_interval_s: float = 10.0
    """How often the node's status is computed; it is posted where it differs."""

    status_report_interval_s: float = 300.0
    """How old a posted node status may get before it is posted unchanged."""

    sync_interval_s: float = 60.0
    """A pod is looked at again after this long, whatever happens."""

    object_fresh_s: float = 5.0
    """How long ConfigMaps and Secrets are believed."""

    follow_interval_s: float = 20.0
    """How often running pods' ConfigMap and Secret volumes are brought up to date."""

    remove_pods_on_stop: bool = False
    """Stop and remove all pods' containers when the kubelet stops in order."""
