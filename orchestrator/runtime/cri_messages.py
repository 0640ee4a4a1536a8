"""Sandboxes and containers of the runtime protocol as CRI messages."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.pb.cri import api_pb2
from orchestrator.runtime.protocol import (
    LABEL_CONTAINER_NAME,
    LABEL_POD_NAME,
    LABEL_POD_NAMESPACE,
    LABEL_POD_UID,
    ContainerConfig,
    MountConfig,
    SandboxConfig,
    SecurityConfig,
)

_PROPAGATION: Mapping[str, api_pb2.MountPropagation] = {
    "HostToContainer": api_pb2.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": api_pb2.PROPAGATION_BIDIRECTIONAL,
}

_PROTOCOLS: Mapping[str, api_pb2.Protocol] = {"UDP": api_pb2.UDP, "SCTP": api_pb2.SCTP}


def sandbox_message(config: SandboxConfig, cgroup: str) -> api_pb2.PodSandboxConfig:
    """Return the CRI form; `cgroup` is the parent of all cgroups of the node's pods."""
    return api_pb2.PodSandboxConfig(
        metadata=api_pb2.PodSandboxMetadata(
            name=config.name, uid=config.uid, namespace=config.namespace, attempt=config.attempt
        ),
        hostname="" if config.host_network else config.hostname,
        log_directory=str(config.log_directory),
        dns_config=api_pb2.DNSConfig(
            servers=config.dns.servers, searches=config.dns.searches, options=config.dns.options
        ),
        port_mappings=[
            api_pb2.PortMapping(
                protocol=_PROTOCOLS.get(port.protocol, api_pb2.TCP),
                container_port=port.container_port,
                host_port=port.host_port,
                host_ip=port.host_ip,
            )
            for port in config.host_ports
        ],
        labels=_pod_labels(config),
        annotations=config.annotations,
        linux=api_pb2.LinuxPodSandboxConfig(
            cgroup_parent=f"{cgroup}/{config.cgroup_parent or f'pod{config.uid}'}",
            security_context=api_pb2.LinuxSandboxSecurityContext(
                namespace_options=_namespaces(config), privileged=config.privileged
            ),
            sysctls=config.sysctls,
        ),
    )


def _pod_labels(config: SandboxConfig) -> dict[str, str]:
    return {
        **config.labels,
        LABEL_POD_NAME: config.name,
        LABEL_POD_NAMESPACE: config.namespace,
        LABEL_POD_UID: config.uid,
    }


def _namespaces(config: SandboxConfig) -> api_pb2.NamespaceOption:
    pid = api_pb2.POD if config.shared_pid else api_pb2.CONTAINER
    return api_pb2.NamespaceOption(
        network=api_pb2.NODE if config.host_network else api_pb2.POD,
        pid=api_pb2.NODE if config.host_pid else pid,
        ipc=api_pb2.NODE if config.host_ipc else api_pb2.POD,
    )


def container_message(
    container: ContainerConfig, sandbox: SandboxConfig
) -> api_pb2.ContainerConfig:
    """Return the CRI form; labels name the pod, so that a listing needs no second look."""
    limits = container.resources
    return api_pb2.ContainerConfig(
        metadata=api_pb2.ContainerMetadata(name=container.name, attempt=container.attempt),
        image=api_pb2.ImageSpec(image=container.image),
        command=container.command,
        args=container.arguments,
        working_dir=container.working_directory,
        envs=[api_pb2.KeyValue(key=key, value=value) for key, value in container.environment],
        mounts=[_mount(mount) for mount in container.mounts],
        labels={
            **container.labels,
            LABEL_CONTAINER_NAME: container.name,
            LABEL_POD_NAME: sandbox.name,
            LABEL_POD_NAMESPACE: sandbox.namespace,
            LABEL_POD_UID: sandbox.uid,
        },
        annotations=container.annotations,
        log_path=container.log_path,
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        linux=api_pb2.LinuxContainerConfig(
            resources=api_pb2.LinuxContainerResources(
                cpu_shares=limits.cpu_shares,
                cpu_period=limits.cpu_period,
                cpu_quota=limits.cpu_quota,
                memory_limit_in_bytes=limits.memory_limit_bytes,
                oom_score_adj=limits.oom_score_adjust,
            ),
            security_context=_security(container.security, sandbox),
        ),
    )


def _mount(mount: MountConfig) -> api_pb2.Mount:
    return api_pb2.Mount(
        container_path=mount.container_path,
        host_path=mount.host_path,
        readonly=mount.read_only,
        propagation=_PROPAGATION.get(mount.propagation, api_pb2.PROPAGATION_PRIVATE),
    )


def _security(
    security: SecurityConfig, sandbox: SandboxConfig
) -> api_pb2.LinuxContainerSecurityContext:
    message = api_pb2.LinuxContainerSecurityContext(
        capabilities=api_pb2.Capability(
            add_capabilities=security.capabilities_added,
            drop_capabilities=security.capabilities_dropped,
        ),
        privileged=security.privileged,
        namespace_options=_namespaces(sandbox),
        readonly_rootfs=security.read_only_root,
        supplemental_groups=security.supplemental_groups,
        no_new_privs=security.no_new_privileges,
    )
    # Presence matters: an Int64Value of zero is root, none is the image's user.
    if security.run_as_user is not None:
        message.run_as_user.value = security.run_as_user
    if security.run_as_group is not None:
        message.run_as_group.value = security.run_as_group
    return message
