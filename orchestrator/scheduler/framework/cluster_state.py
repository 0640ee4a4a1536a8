"""Nodes with what is placed on them, kept up to date change by change.

One task owns the state and plans on it without awaiting, so that a plan sees one moment and
nothing is copied. A pod that was given a node is *assumed* there from the decision on, long before
the watch confirms it, so that the next decision counts with it.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from orchestrator.api.json_object import JsonObject
from orchestrator.scheduler.framework.anti_affinity import AntiAffinityGroups
from orchestrator.scheduler.framework.host_ports import HostPort
from orchestrator.scheduler.framework.pod_info import PodInfo
from orchestrator.scheduler.framework.requests import Amounts, amounts

CHANGES_MAX: Final = 20_000
"""Changes remembered for readers that follow them; one who is further behind reads everything."""


@dataclass(slots=True)
class NodeInfo:
    """One node. Invariant: `used`, `pod_count` and `ports` are the sums over `pods`."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    taints: list[JsonObject] = field(default_factory=list)
    unschedulable: bool = False
    exists: bool = False
    """False while only its pods are known: nothing is placed on it."""
    allocatable: Amounts = field(default_factory=dict)
    pods_max: int = 0
    pods: dict[str, PodInfo] = field(default_factory=dict)
    used: Amounts = field(default_factory=dict)
    scored_cpu: int = 0
    scored_memory: int = 0
    """Usage as scoring counts it: pods without requests weigh something."""
    pod_count: int = 0
    ports: list[HostPort] = field(default_factory=list)
    generation: int = 0
    """Grows with every change to this node."""


class ClusterState:
    """All nodes, and the order in which they changed."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self._node_of_pod: dict[str, str] = {}
        self._changed: deque[str] = deque(maxlen=CHANGES_MAX)
        self.change_count = 0
        """Changes since the beginning; the last CHANGES_MAX can be read by `changes_since`."""
        self.anti_affinity = AntiAffinityGroups()
        """What placed pods refuse to have near them."""

    @property
    def node_count(self) -> int:
        """Count the nodes that exist."""
        return sum(node.exists for node in self.nodes.values())

    def changes_since(self, count: int) -> set[str] | None:
        """Return the nodes changed since `change_count` was `count`; None if it is too long ago."""
        behind = self.change_count - count
        if behind > len(self._changed):
            return None
        # The newest are at the right; deque indexing near an end is cheap.
        return {self._changed[-1 - back] for back in range(behind)}

    def set_node(self, node: JsonObject) -> None:
        """Add a node, or take its new state."""
        metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
        info = self._node(metadata["name"])
        info.exists = True
        info.labels = metadata.get("labels") or {}
        info.taints = spec.get("taints") or []
        info.unschedulable = bool(spec.get("unschedulable"))
        info.allocatable = amounts(status.get("allocatable") or status.get("capacity"))
        info.pods_max = info.allocatable.get("pods", 0)
        self._touch(info)

    def remove_node(self, name: str) -> None:
        """Place nothing on the node any more; its pods are remembered until they go."""
        info = self.nodes.get(name)
        if info is not None:
            info.exists = False
            self._touch(info)
            self._drop_if_empty(info)

    def place(self, pod: PodInfo, node_name: str) -> None:
        """Count the pod on the node, instead of wherever it was counted before."""
        if pod.uid in self._node_of_pod:
            if self._node_of_pod[pod.uid] == node_name:
                old = self.nodes[node_name].pods[pod.uid]
                if old.spec == pod.spec and old.labels == pod.labels:
                    return  # the confirmation of an assumed pod changes nothing
            self.displace(pod.uid)
        info = self._node(node_name)
        info.pods[pod.uid] = pod
        self._node_of_pod[pod.uid] = node_name
        self.anti_affinity.add(pod, node_name)
        self._count(info, pod, 1)
        info.ports.extend(pod.host_ports)
        self._touch(info)

    def displace(self, uid: str) -> None:
        """Stop counting the pod; no effect for one that is not placed."""
        node_name = self._node_of_pod.pop(uid, None)
        if node_name is None:
            return
        info = self.nodes[node_name]
        pod = info.pods.pop(uid)
        self.anti_affinity.remove(pod, node_name)
        self._count(info, pod, -1)
        for port in pod.host_ports:
            info.ports.remove(port)
        self._touch(info)
        self._drop_if_empty(info)

    def node_of(self, uid: str) -> str | None:
        """Return the node that the pod is counted on, or None."""
        return self._node_of_pod.get(uid)

    def _count(self, info: NodeInfo, pod: PodInfo, sign: int) -> None:
        for name, amount in pod.requests.items():
            info.used[name] = info.used.get(name, 0) + sign * amount
        info.scored_cpu += sign * pod.scored_cpu
        info.scored_memory += sign * pod.scored_memory
        info.pod_count += sign

    def _node(self, name: str) -> NodeInfo:
        info = self.nodes.get(name)
        if info is None:
            info = self.nodes[name] = NodeInfo(name)
        return info

    def _touch(self, info: NodeInfo) -> None:
        # One sequence for all nodes: a node that went and came back is not mistaken for the old.
        self.change_count += 1
        info.generation = self.change_count
        self._changed.append(info.name)

    def _drop_if_empty(self, info: NodeInfo) -> None:
        if not info.exists and not info.pods:
            del self.nodes[info.name]
