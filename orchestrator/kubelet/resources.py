"""Requests and limits of a pod in the units of Linux: cgroup values and kill order."""

from __future__ import annotations

from orchestrator.api import quantity
from orchestrator.api.json_object import JsonObject, nested_object
from orchestrator.kubelet.pod_view import containers_of, init_containers_of
from orchestrator.runtime.protocol import ResourceConfig

CPU_PERIOD_US = 100_000
CPU_QUOTA_US_MIN = 1_000
CPU_SHARES_MIN = 2

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"

_OOM_SCORE = {GUARANTEED: -997, BEST_EFFORT: 1000}


def qos_class(pod: JsonObject) -> str:
    """Return the pod's quality of service: from its status, else from requests and limits."""
    known = (pod.get("status") or {}).get("qosClass")
    if known:
        return str(known)
    guaranteed, any_set = True, False
    for container in [*init_containers_of(pod), *containers_of(pod)]:
        requests = nested_object(container, "resources", "requests")
        limits = nested_object(container, "resources", "limits")
        for name in ("cpu", "memory"):
            request, limit = requests.get(name, limits.get(name)), limits.get(name)
            any_set = any_set or request is not None
            if limit is None or quantity.compare(str(request), str(limit)) != 0:
                guaranteed = False
    if not any_set:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE


def cgroup_parent(pod: JsonObject) -> str:
    """Return the pod's cgroup below the node's: Guaranteed pods are not grouped."""
    group = {BURSTABLE: "burstable/", BEST_EFFORT: "besteffort/"}.get(qos_class(pod), "")
    return f"{group}pod{pod['metadata']['uid']}"


def container_resources(
    pod: JsonObject, container: JsonObject, memory_capacity_bytes: int
) -> ResourceConfig:
    """Return the container's cgroup values; a limit stands in for an absent request."""
    requests = nested_object(container, "resources", "requests")
    limits = nested_object(container, "resources", "limits")
    cpu_request = requests.get("cpu", limits.get("cpu"))
    request_milli = quantity.milli_value(cpu_request) if cpu_request is not None else 0
    limit_milli = quantity.milli_value(limits["cpu"]) if limits.get("cpu") else 0
    memory_limit = quantity.value(limits["memory"]) if limits.get("memory") else 0
    quota = max(limit_milli * CPU_PERIOD_US // 1000, CPU_QUOTA_US_MIN) if limit_milli else 0
    memory_request = requests.get("memory") or limits.get("memory") or "0"
    return ResourceConfig(
        cpu_shares=max(CPU_SHARES_MIN, request_milli * 1024 // 1000),
        cpu_period=CPU_PERIOD_US if quota else 0,
        cpu_quota=quota,
        memory_limit_bytes=memory_limit,
        oom_score_adjust=_oom_score(pod, quantity.value(memory_request), memory_capacity_bytes),
    )


def _oom_score(pod: JsonObject, memory_request_bytes: int, capacity_bytes: int) -> int:
    fixed = _OOM_SCORE.get(qos_class(pod))
    if fixed is not None:
        return fixed
    return min(max(2, 1000 - 1000 * memory_request_bytes // max(capacity_bytes, 1)), 999)
