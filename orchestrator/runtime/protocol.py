"""What the kubelet asks of a container runtime, whichever stands behind it.

A pod has one *sandbox* (its network and its place on disk) and containers in it. The kubelet
names everything by pod uid, container name and attempt; the runtime gives ids. All calls are
level-triggered material: listing is the truth, and stopping or removing what is gone is no error.

Logs are files in CRI format (`<RFC 3339 time> <stdout|stderr> <P|F> <text>`) at
`SandboxConfig.log_directory / ContainerConfig.log_path`: the runtime writes, the kubelet reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

LABEL_POD_NAME = "io.kubernetes.pod.name"
LABEL_POD_NAMESPACE = "io.kubernetes.pod.namespace"
LABEL_POD_UID = "io.kubernetes.pod.uid"
LABEL_CONTAINER_NAME = "io.kubernetes.container.name"
ANNOTATION_HASH = "io.kubernetes.container.hash"
ANNOTATION_RESTART_COUNT = "io.kubernetes.container.restartCount"
ANNOTATION_TERMINATION_PATH = "io.kubernetes.container.terminationMessagePath"


class RuntimeFailure(Exception):
    """The runtime could not do what was asked; the text is for people (events, statuses)."""


class ImageMissing(RuntimeFailure):
    """The image is not on this node."""


class ContainerState(Enum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DnsConfig:
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostPort:
    protocol: str
    container_port: int
    host_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """A pod's sandbox. `attempt` grows when a pod needs a new one."""

    uid: str
    namespace: str
    name: str
    attempt: int
    hostname: str
    log_directory: Path
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    dns: DnsConfig = DnsConfig()
    host_ports: tuple[HostPort, ...] = ()
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    shared_pid: bool = False
    privileged: bool = False
    cgroup_parent: str = ""
    """A cgroup path below the node's own cgroup, such as "burstable/pod1"."""
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MountConfig:
    """Show `host_path` at `container_path`; both absolute."""

    container_path: str
    host_path: str
    read_only: bool = False
    propagation: str = "None"
    """Kubernetes' words: None, HostToContainer, Bidirectional."""


@dataclass(frozen=True, slots=True)
class ResourceConfig:
    """Limits in the units of Linux; 0 is unset. CPU period and quota are in microseconds."""

    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    memory_limit_bytes: int = 0
    oom_score_adjust: int = 0


@dataclass(frozen=True, slots=True)
class SecurityConfig:
    """None takes what the image says."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    capabilities_added: tuple[str, ...] = ()
    capabilities_dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """A container to create. Empty `command` and `arguments` take the image's."""

    name: str
    attempt: int
    image: str
    log_path: str
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    working_directory: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    mounts: tuple[MountConfig, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    resources: ResourceConfig = ResourceConfig()
    security: SecurityConfig = SecurityConfig()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """A container as the runtime sees it. Times are nanoseconds since the epoch, 0 for never.

    `image_ref` is the image's digest; `exit_code`, `reason`, `message` mean something once the
    state is EXITED.
    """

    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: ContainerState
    created_at_ns: int
    started_at_ns: int = 0
    finished_at_ns: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """A sandbox and the containers in it, oldest first. `ip` is empty on the host's network."""

    id: str
    uid: str
    namespace: str
    name: str
    attempt: int
    ready: bool
    created_at_ns: int
    ip: str = ""
    containers: tuple[ContainerStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    output: bytes
    """Standard output, then standard error."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    references: tuple[str, ...]
    size_bytes: int


class Runtime(Protocol):
    """containerd, process or hollow. Every call may raise RuntimeFailure."""

    @property
    def name(self) -> str:
        """Prefix of container ids in statuses: `containerd` in `containerd://0123…`."""
        ...

    @property
    def runs_programs(self) -> bool:
        """False where containers are only pretended: no files, environment, probes or logs."""
        ...

    async def version(self) -> str:
        """Return the runtime's version."""
        ...

    async def problem(self) -> str:
        """Return why no pod can run here now (runtime or network not ready), or ""."""
        ...

    async def configure(self, pod_cidr: str) -> None:
        """Take the range of this node's pod addresses; called again where it changes."""
        ...

    async def list_pods(self) -> Sequence[SandboxStatus]:
        """Return all sandboxes with their containers; cheap enough for every second."""
        ...

    async def wait_change(self) -> None:
        """Return when the listing may have changed; within a second where nobody can tell."""
        ...

    async def run_sandbox(self, config: SandboxConfig) -> SandboxStatus: ...

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill its containers and free its network."""
        ...

    async def remove_sandbox(self, sandbox_id: str) -> None: ...

    async def create_container(
        self, sandbox_id: str, container: ContainerConfig, sandbox: SandboxConfig
    ) -> str:
        """Create a container without starting it; return its id. May raise ImageMissing."""
        ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, grace_period_s: int) -> None:
        """SIGTERM, SIGKILL after the grace period; return when it has ended."""
        ...

    async def remove_container(self, container_id: str) -> None: ...

    async def exec(self, container_id: str, command: Sequence[str], timeout_s: int) -> ExecResult:
        """Run a command beside the container's process; TimeoutError where it overruns."""
        ...

    async def reopen_log(self, container_id: str) -> None:
        """Begin a new log file: the caller has renamed the old one."""
        ...

    async def find_image(self, reference: str) -> str | None:
        """Return the digest of an image on this node, or None."""
        ...

    async def list_images(self) -> Sequence[ImageInfo]: ...
