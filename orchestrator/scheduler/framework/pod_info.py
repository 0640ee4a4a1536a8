"""A pod as the scheduler sees it, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from orchestrator.api.json_object import JsonObject
from orchestrator.scheduler.framework.host_ports import HostPort, host_ports
from orchestrator.scheduler.framework.requests import (
    UNREQUESTED_CPU,
    UNREQUESTED_MEMORY,
    Amounts,
    pod_requests,
)

REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """Everything of a pod that decides about its place."""

    uid: str
    namespace: str
    name: str
    labels: dict[str, str]
    spec: JsonObject
    requests: Amounts
    scored_cpu: int
    scored_memory: int
    host_ports: tuple[HostPort, ...]
    required_anti_affinity: tuple[JsonObject, ...]
    signature: bytes
    """Equal for pods that every node treats alike, taken by themselves."""

    @classmethod
    def from_pod(cls, pod: JsonObject) -> PodInfo:
        """Read a pod object; ValueError for a quantity that is none."""
        metadata, spec = pod["metadata"], pod["spec"]
        requests = pod_requests(spec)
        ports = host_ports(spec)
        affinity = spec.get("affinity") or {}
        anti = (affinity.get("podAntiAffinity") or {}).get(REQUIRED) or ()
        deciding: dict[str, Any] = {
            "requests": requests,
            "ports": ports,
            "selector": spec.get("nodeSelector"),
            "affinity": affinity,
            "tolerations": spec.get("tolerations"),
            "spread": spec.get("topologySpreadConstraints"),
        }
        if affinity.get("podAffinity") or affinity.get("podAntiAffinity") or deciding["spread"]:
            # These look at pods by namespace and label, the pod's own included.
            deciding["namespace"] = metadata.get("namespace", "")
            deciding["labels"] = metadata.get("labels")
        return cls(
            uid=metadata["uid"],
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            labels=metadata.get("labels") or {},
            spec=spec,
            requests=requests,
            scored_cpu=requests.get("cpu") or UNREQUESTED_CPU,
            scored_memory=requests.get("memory") or UNREQUESTED_MEMORY,
            host_ports=ports,
            required_anti_affinity=tuple(anti),
            signature=orjson.dumps(deciding, option=orjson.OPT_SORT_KEYS),
        )
