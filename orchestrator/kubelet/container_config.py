"""Turn a pod's spec into what the runtime is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.api.json_object import JsonObject, nested_list, nested_object
from orchestrator.kubelet.config import KubeletConfig
from orchestrator.kubelet.env import expand
from orchestrator.kubelet.pod_directory import PodDirectory, log_path
from orchestrator.kubelet.pod_view import container_hash
from orchestrator.kubelet.resources import cgroup_parent, container_resources
from orchestrator.kubelet.volumes.mounts import container_mounts
from orchestrator.runtime.protocol import (
    ANNOTATION_HASH,
    ANNOTATION_RESTART_COUNT,
    ContainerConfig,
    DnsConfig,
    MountConfig,
    SandboxConfig,
    SecurityConfig,
)

HOSTNAME_LENGTH_MAX = 63


def sandbox_config(
    pod: JsonObject, attempt: int, directory: PodDirectory, config: KubeletConfig
) -> SandboxConfig:
    """Return the sandbox of the pod's `attempt`-th life."""
    metadata, spec = pod["metadata"], pod["spec"]
    hostname = str(spec.get("hostname") or metadata["name"])[:HOSTNAME_LENGTH_MAX].rstrip("-.")
    containers = nested_list(pod, "spec", "containers")
    sysctls = nested_list(pod, "spec", "securityContext", "sysctls")
    return SandboxConfig(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        attempt=attempt,
        hostname=hostname,
        log_directory=directory.logs,
        labels=metadata.get("labels") or {},
        dns=_dns(pod, config),
        host_network=bool(spec.get("hostNetwork")),
        host_pid=bool(spec.get("hostPID")),
        host_ipc=bool(spec.get("hostIPC")),
        shared_pid=bool(spec.get("shareProcessNamespace")),
        privileged=any(_security(c).get("privileged") for c in containers),
        cgroup_parent=cgroup_parent(pod),
        sysctls={sysctl["name"]: sysctl["value"] for sysctl in sysctls},
    )


def _dns(pod: JsonObject, config: KubeletConfig) -> DnsConfig:
    """Return resolv.conf's contents; empty leaves the host's."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    given = spec.get("dnsConfig") or {}
    servers: tuple[str, ...] = tuple(given.get("nameservers") or ())
    searches: tuple[str, ...] = tuple(given.get("searches") or ())
    options = tuple(
        f"{o['name']}:{o['value']}" if o.get("value") else str(o["name"])
        for o in given.get("options") or ()
    )
    in_cluster = policy == "ClusterFirstWithHostNet" or (
        policy == "ClusterFirst" and not spec.get("hostNetwork")
    )
    if in_cluster and config.cluster_dns:
        zone = config.cluster_domain
        namespace = pod["metadata"]["namespace"]
        servers = (*config.cluster_dns, *servers)
        searches = (f"{namespace}.svc.{zone}", f"svc.{zone}", zone, *searches)
        options = ("ndots:5", *options)
    return DnsConfig(servers, searches, options)


def container_config(
    pod: JsonObject,
    container: JsonObject,
    attempt: int,
    environment: Mapping[str, str],
    volumes: Mapping[str, Path],
    directory: PodDirectory,
    hosts: Path | None,
    memory_capacity_bytes: int,
) -> ContainerConfig:
    """Return the container's `attempt`-th incarnation. `hosts` is shown as /etc/hosts.

    Raises VolumeError for a mount that cannot be.
    """
    name = container["name"]
    message_path = container.get("terminationMessagePath") or "/dev/termination-log"
    mounts = container_mounts(container, volumes, environment)
    mounts.append(MountConfig(message_path, str(directory.make_termination_file(name, attempt))))
    if hosts is not None and all(mount.container_path != "/etc/hosts" for mount in mounts):
        mounts.append(MountConfig("/etc/hosts", str(hosts)))
    return ContainerConfig(
        name=name,
        attempt=attempt,
        image=container["image"],
        log_path=log_path(name, attempt),
        command=tuple(expand(word, environment) for word in container.get("command") or ()),
        arguments=tuple(expand(word, environment) for word in container.get("args") or ()),
        working_directory=container.get("workingDir") or "",
        environment=tuple(environment.items()),
        mounts=tuple(mounts),
        annotations={
            ANNOTATION_HASH: container_hash(container),
            ANNOTATION_RESTART_COUNT: str(attempt),
        },
        resources=container_resources(pod, container, memory_capacity_bytes),
        security=security_config(pod, container),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
    )


def security_config(pod: JsonObject, container: JsonObject) -> SecurityConfig:
    """Merge the pod's security context with the container's, which wins."""
    of_pod = nested_object(pod, "spec", "securityContext")
    own = _security(container)
    groups = [*(of_pod.get("supplementalGroups") or ())]
    if of_pod.get("fsGroup") is not None:
        groups.append(of_pod["fsGroup"])
    capabilities = own.get("capabilities") or {}
    return SecurityConfig(
        run_as_user=own.get("runAsUser", of_pod.get("runAsUser")),
        run_as_group=own.get("runAsGroup", of_pod.get("runAsGroup")),
        supplemental_groups=tuple(groups),
        privileged=bool(own.get("privileged")),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        capabilities_added=tuple(capabilities.get("add") or ()),
        capabilities_dropped=tuple(capabilities.get("drop") or ()),
    )


def _security(container: JsonObject) -> JsonObject:
    return nested_object(container, "securityContext")
