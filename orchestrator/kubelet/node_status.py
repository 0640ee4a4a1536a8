"""A node's object and status, computed from facts about the machine. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.api.json_object import JsonObject, nested_list
from orchestrator.api.times import format_time
from orchestrator.kubelet.config import KubeletConfig

PODS_MAX_DEFAULT = 110
KUBELET_VERSION = "v1.35.0+orchestrator"
MEMORY_RESERVED_KIB = 100 * 1024
"""Kept from pods: upstream's eviction threshold of 100Mi."""

IMAGES_REPORTED_MAX = 50


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What does not change while a kubelet runs."""

    cpus: int
    memory_kib: int
    storage_kib: int
    machine_id: str
    boot_id: str
    kernel: str
    os_image: str
    architecture: str


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """What the runtime said last."""

    name: str
    version: str
    problem: str
    images: tuple[JsonObject, ...] = ()


def node_labels(config: KubeletConfig, facts: MachineFacts) -> dict[str, str]:
    return {
        "beta.kubernetes.io/arch": facts.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": facts.architecture,
        "kubernetes.io/hostname": config.node_name,
        "kubernetes.io/os": "linux",
        **config.labels,
    }


def capacity(config: KubeletConfig, facts: MachineFacts) -> dict[str, str]:
    return {
        "cpu": str(facts.cpus),
        "memory": f"{facts.memory_kib}Ki",
        "ephemeral-storage": f"{facts.storage_kib}Ki",
        "pods": str(PODS_MAX_DEFAULT),
        **config.capacity,
    }


def allocatable(config: KubeletConfig, facts: MachineFacts) -> dict[str, str]:
    """Return what pods may ask for: the capacity less what the machine keeps."""
    whole = capacity(config, facts)
    if "memory" not in config.capacity:
        whole["memory"] = f"{max(facts.memory_kib - MEMORY_RESERVED_KIB, 0)}Ki"
    return whole


def node_object(config: KubeletConfig, facts: MachineFacts) -> JsonObject:
    """Return the node to register. Taint not-ready until the first status says otherwise."""
    node: JsonObject = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": config.node_name,
            "labels": node_labels(config, facts),
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
        },
        "spec": {},
    }
    if config.taints:
        node["spec"]["taints"] = [dict(taint) for taint in config.taints]
    return node


def node_status(
    config: KubeletConfig,
    facts: MachineFacts,
    runtime: RuntimeFacts,
    port: int,
    old: JsonObject,
    now: datetime,
) -> JsonObject:
    """Return the node's status. `old` is the posted node; its condition times are kept."""
    status: JsonObject = {
        "capacity": capacity(config, facts),
        "allocatable": allocatable(config, facts),
        "addresses": [
            {"type": "InternalIP", "address": config.node_ip},
            {"type": "Hostname", "address": config.node_name},
        ],
        "nodeInfo": {
            "machineID": facts.machine_id,
            "systemUUID": facts.machine_id,
            "bootID": facts.boot_id,
            "kernelVersion": facts.kernel,
            "osImage": facts.os_image,
            "containerRuntimeVersion": f"{runtime.name}://{runtime.version}",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": facts.architecture,
        },
        "images": list(runtime.images[:IMAGES_REPORTED_MAX]),
        "conditions": _conditions(runtime, old, now),
    }
    if port:
        status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": port}}
    return status


def _conditions(runtime: RuntimeFacts, old: JsonObject, now: datetime) -> list[JsonObject]:
    before = {c["type"]: c for c in nested_list(old, "status", "conditions")}
    ready = not runtime.problem
    wanted = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "sufficient PID available"),
    ]
    if ready:
        wanted.append(("Ready", "True", "KubeletReady", "kubelet is posting ready status"))
    else:
        text = f"container runtime is not ready: {runtime.problem}"
        wanted.append(("Ready", "False", "KubeletNotReady", text))
    conditions = []
    for kind, value, reason, text in wanted:
        message = text if kind == "Ready" else f"kubelet has {text}"
        known = before.pop(kind, {})
        stamp = known.get("lastTransitionTime") if known.get("status") == value else None
        conditions.append(
            {
                "type": kind,
                "status": value,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": format_time(now),
                "lastTransitionTime": stamp or format_time(now),
            }
        )
    return [*before.values(), *conditions]


def without_heartbeats(status: Mapping[str, object]) -> dict[str, object]:
    """Return the status as compared to decide whether it must be posted."""
    conditions = status.get("conditions")
    assert isinstance(conditions, list), "node_status makes a list"
    bare = [{k: v for k, v in c.items() if k != "lastHeartbeatTime"} for c in conditions]
    return {**status, "conditions": bare}
