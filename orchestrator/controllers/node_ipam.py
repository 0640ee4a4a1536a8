"""Give each node its own part of the cluster's pod network."""

import ipaddress
from collections.abc import Iterable

from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import NODE
from orchestrator.client.controller import DONE, Controller, Result
from orchestrator.client.informer import EventHandler
from orchestrator.client.object_key import ObjectKey, key_of
from orchestrator.controllers.context import ControllerContext


class NoNetworkLeftError(Exception):
    """Every part of the cluster network belongs to a node; retried, as a node may go."""


def next_network(cluster_cidr: str, prefix_length: int, taken: Iterable[str]) -> str:
    """Return the first free subnet of this prefix length; raises NoNetworkLeftError."""
    used = set(taken)
    for subnet in ipaddress.IPv4Network(cluster_cidr).subnets(new_prefix=prefix_length):
        if str(subnet) not in used:
            return str(subnet)
    raise NoNetworkLeftError(f"{cluster_cidr} has no free /{prefix_length}")


class NodeIpamController:
    """One key per node; a single worker, so that no subnet is given out twice."""

    def __init__(self, context: ControllerContext, cluster_cidr: str, prefix_length: int) -> None:
        self._context = context
        self._cluster_cidr = cluster_cidr
        self._prefix_length = prefix_length
        self._assigned: dict[str, str] = {}
        """By node name: what was written and may not be in the cache yet."""
        self._nodes = context.informers.informer(NODE)
        self._controller: Controller[ObjectKey] = Controller("node-ipam", self.reconcile, workers=1)
        queue = self._controller.queue
        self._nodes.add_handler(EventHandler.for_any(lambda node: queue.add(key_of(node))))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        await self._controller.run()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Set podCIDR and podCIDRs where the node has none."""
        node = self._nodes.store.get(key)
        if node is None:
            self._assigned.pop(key.name, None)
            return DONE
        spec = node.get("spec") or {}
        if spec.get("podCIDR"):
            self._assigned.pop(key.name, None)
            return DONE
        network = self._assigned.get(key.name) or next_network(
            self._cluster_cidr, self._prefix_length, self._taken()
        )
        spec = {**spec, "podCIDR": network, "podCIDRs": [network]}
        await self._context.client.update(NODE, {**node, "spec": spec})
        self._assigned[key.name] = network
        return DONE

    def _taken(self) -> list[str]:
        cached = [_pod_cidr(node) for node in self._nodes.store]
        return [network for network in (*cached, *self._assigned.values()) if network]


def _pod_cidr(node: JsonObject) -> str:
    network: str = (node.get("spec") or {}).get("podCIDR", "")
    return network
