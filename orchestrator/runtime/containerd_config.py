"""Where a private containerd keeps its things, and the configuration it is given."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from orchestrator.images.busybox import PAUSE_IMAGE
from orchestrator.runtime.pod_network import bridge_name

SOCKET_PATH_BYTES_MAX = 104
"""The longest path containerd listens on: its own bound, below the 107 of unix(7) on Linux."""

CNI_BINARY_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
"""Debian's place of the CNI plugins, and everybody else's."""

_DISABLED_PLUGINS = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.opt",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
)


@dataclass(frozen=True, slots=True)
class ContainerdLayout:
    """The files, link and cgroup of one private containerd, all derived from its directory."""

    directory: Path

    @property
    def root(self) -> Path:
        """Images, snapshots and metadata: kept between runs."""
        return self.directory / "root"

    @property
    def run(self) -> Path:
        """Sockets and mounts. Below `/run` where the directory's own path is too long."""
        near = self.directory / "run"
        if len(str(near / "containerd.sock.ttrpc").encode()) <= SOCKET_PATH_BYTES_MAX:
            return near
        return Path("/run") / f"orchestrator-{self._digest}"

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def state(self) -> Path:
        return self.run / "state"

    @property
    def config(self) -> Path:
        return self.directory / "config.toml"

    @property
    def log(self) -> Path:
        return self.directory / "containerd.log"

    @property
    def cni_conf(self) -> Path:
        return self.directory / "net.d"

    @property
    def cni_leases(self) -> Path:
        return self.directory / "networks"

    @property
    def bridge(self) -> str:
        return bridge_name(self.directory)

    @property
    def cgroup(self) -> str:
        """Parent of all cgroups of this node's pods, below each hierarchy's root."""
        return f"/orchestrator-{self._digest}"

    @property
    def _digest(self) -> str:
        return hashlib.sha256(str(self.directory.absolute()).encode()).hexdigest()[:8]

    def toml(self, cni_binaries: Path) -> str:
        """Return containerd's configuration (version 2, for 1.6 and 1.7).

        Scores of the out-of-memory killer are restricted to what this process may set: runc
        fails where root has no CAP_SYS_RESOURCE, as in many virtual machines and containers.
        """
        disabled = ", ".join(f'"{plugin}"' for plugin in _DISABLED_PLUGINS)
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return f"""\
version = 2
root = "{self.root}"
state = "{self.state}"
disabled_plugins = [{disabled}]

[grpc]
  address = "{self.socket}"

[ttrpc]
  address = "{self.socket}.ttrpc"

[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true
  max_container_log_line_size = 16384

[{cri}.cni]
  bin_dir = "{cni_binaries}"
  conf_dir = "{self.cni_conf}"

[{cri}.containerd]
  default_runtime_name = "runc"

[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{self.run}/runc"
"""
