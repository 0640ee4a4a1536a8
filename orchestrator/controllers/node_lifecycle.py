"""Watch over nodes by their leases: mark the silent ones Unknown, and taint by condition."""

import asyncio
import logging
from datetime import datetime
from typing import Final

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import LEASE, NODE, POD
from orchestrator.client.conditions import condition_is, find_condition, make_condition
from orchestrator.client.controller import DONE, Controller, Result
from orchestrator.client.informer import EventHandler
from orchestrator.client.object_key import ObjectKey, key_of
from orchestrator.client.rest_client import STRATEGIC_MERGE_PATCH
from orchestrator.controllers.context import ControllerContext
from orchestrator.controllers.node_lifecycle_plan import (
    Heartbeat,
    is_silent,
    note_heartbeat,
    plan_taints,
    unknown_conditions,
)
from orchestrator.controllers.pod_state import BY_NODE, index_by_node

log = logging.getLogger(__name__)

LEASE_NAMESPACE: Final = "kube-node-lease"


class NodeLifecycleController:
    """Looks at every node when it changes, and at all of them each monitor period."""

    def __init__(
        self, context: ControllerContext, grace_period_s: float, monitor_period_s: float
    ) -> None:
        self._context = context
        self._grace_period_s = grace_period_s
        self._monitor_period_s = monitor_period_s
        self._heartbeats: dict[str, Heartbeat] = {}
        self._nodes = context.informers.informer(NODE)
        self._leases = context.informers.informer(LEASE)
        self._pods = context.informers.informer(POD, {BY_NODE: index_by_node})
        self._controller: Controller[ObjectKey] = Controller("node-lifecycle", self.reconcile)
        self._queue = self._controller.queue
        self._nodes.add_handler(EventHandler.for_any(lambda node: self._queue.add(key_of(node))))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._controller.run())
            group.create_task(self._monitor())

    async def _monitor(self) -> None:
        """A lease is renewed without its node changing, and silence changes nothing at all.

        Where this loop itself was stopped for long (a suspended machine, a paused process), it was
        we who were silent: all nodes then have a whole grace period to be heard from again.
        """
        last = self._context.clock()
        while True:
            now = self._context.clock()
            if (now - last).total_seconds() > self._grace_period_s / 2:
                self._heartbeats.clear()
            last = now
            for key in self._nodes.store.object_keys():
                self._queue.add(key)
            await asyncio.sleep(self._monitor_period_s)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring one node's conditions and taints, and its pods' readiness, up to date."""
        node = self._nodes.store.get(key)
        if node is None:
            self._heartbeats.pop(key.name, None)
            return DONE
        now = self._context.clock()
        lease = self._leases.store.get(ObjectKey(LEASE_NAMESPACE, key.name))
        heartbeat = note_heartbeat(self._heartbeats.get(key.name), node, lease, now)
        self._heartbeats[key.name] = heartbeat
        if is_silent(heartbeat, self._grace_period_s, now):
            node = await self._mark_unknown(node, now)
        taints = plan_taints(node, now, self._any_alive(now))
        if taints is not None:
            node = {**node, "spec": {**(node.get("spec") or {}), "taints": taints}}
            await self._context.client.update(NODE, node)
        if not condition_is(node, "Ready"):
            await self._mark_pods_not_ready(key.name, now)
        return DONE

    def _any_alive(self, now: datetime) -> bool:
        return any(
            not is_silent(heartbeat, self._grace_period_s, now)
            for heartbeat in self._heartbeats.values()
        )

    async def _mark_unknown(self, node: JsonObject, now: datetime) -> JsonObject:
        conditions = unknown_conditions(node, now)
        if conditions is None:
            return node
        name = node["metadata"]["name"]
        log.warning("node is silent: node=%s", name)
        status = {**(node.get("status") or {}), "conditions": conditions}
        updated = await self._context.client.update_status(NODE, {**node, "status": status})
        message = f"Node {name} status is now: NodeNotReady"
        self._context.recorder.event(node, "Normal", "NodeNotReady", message)
        return updated

    async def _mark_pods_not_ready(self, node_name: str, now: datetime) -> None:
        """Take the pods out of their Services; their kubelet cannot say so itself."""
        for pod in self._pods.store.by_index(BY_NODE, node_name):
            ready = find_condition(pod, "Ready")
            if ready is None or ready["status"] != "True":
                continue
            metadata = pod["metadata"]
            condition = make_condition("Ready", "False", "NodeNotReady", "", now)
            del condition["message"]
            patch = {
                "metadata": {"uid": metadata["uid"]},
                "status": {"conditions": [condition]},
            }
            try:
                await self._context.client.patch(
                    POD,
                    metadata["namespace"],
                    metadata["name"],
                    patch,
                    STRATEGIC_MERGE_PATCH,
                    subresource="status",
                )
            except StatusError as exc:
                if exc.code != 404:
                    raise
                continue
            message = "Node is not ready"
            self._context.recorder.event(pod, "Warning", "NodeNotReady", message)
