"""What an API server is told at start; nothing below it reads environment or arguments."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

GIT_VERSION = "v1.35.0+orchestrator"
"""What `/version` says. Unlike a pre-release, a build suffix satisfies charts' `>=` rules."""


@dataclass(frozen=True, slots=True)
class ApiServerConfig:
    """Settings of one API server. `validate` reports every problem at once."""

    data_dir: Path
    """Certificates are kept in `<data_dir>/pki`."""

    etcd_endpoints: tuple[str, ...]
    """Members of the store, `host:port` or URL; any etcd v3 server will do."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 6443
    """Port to listen on; 0 takes a free one, `ApiServer.port` tells which."""

    advertise_address: str = ""
    """Where pods reach this server, in the Endpoints of Service `kubernetes`; empty: `host`."""

    pod_gateway: str = ""
    """The node's address in the pods' network, to listen on besides `host`, and to advertise.
    The link that has it may come later."""

    serving_hosts: tuple[str, ...] = ()
    """More names and addresses for the serving certificate."""

    service_cidr: str = "10.96.0.0/12"
    """IPv4 network of cluster addresses; its first address is Service `kubernetes`."""

    node_port_first: int = 30000
    node_port_last: int = 32767
    """Range of node ports, both ends included."""

    etcd_prefix: str = "/registry"
    """Root of our keys."""

    request_body_bytes_max: int = 3 * 1024 * 1024
    """A larger body is refused by 413."""

    mutating_in_flight_max: int = 200
    reading_in_flight_max: int = 400
    long_running_max: int = 20_000
    """Requests served at once: writes, reads, and watches with log streams; more get 429."""

    watch_window_events_max: int = 4096
    """Events of one resource kept for watches that resume."""

    watch_queue_events_max: int = 4096
    """Events waiting for one watcher; a watcher slower than that is dropped."""

    bookmark_interval_s: float = 60.0
    compaction_interval_s: float = 300.0
    """History older than this is compacted away; 0 leaves compaction to the store."""

    event_ttl_s: int = 3600
    """How long Event objects live."""

    def validate(self) -> None:
        """Raise ValueError naming every setting that cannot work."""
        problems = []
        if not self.etcd_endpoints:
            problems.append("etcd_endpoints is empty: name at least one member")
        try:
            network = ipaddress.IPv4Network(self.service_cidr)
        except ValueError as error:
            problems.append(f"service_cidr: {error}")
        else:
            if network.prefixlen > 28:
                problems.append(f"service_cidr {self.service_cidr}: needs at least 16 addresses")
        if not 0 <= self.port <= 65535:
            problems.append(f"port {self.port} is not a port")
        if not 1 <= self.node_port_first <= self.node_port_last <= 65535:
            problems.append(
                f"node ports {self.node_port_first}-{self.node_port_last} are not a range of ports"
            )
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def advertised(self) -> str:
        """The address in the Endpoints of Service `kubernetes`."""
        return self.advertise_address or self.pod_gateway or self.host

    @property
    def kubernetes_service_ip(self) -> str:
        """The cluster address of Service default/kubernetes."""
        return str(ipaddress.IPv4Network(self.service_cidr)[1])
