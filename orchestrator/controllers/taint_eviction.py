"""Delete pods from nodes whose NoExecute taints they do not, or no longer, tolerate."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import NODE, POD
from orchestrator.api.times import parse_time
from orchestrator.client.controller import DONE, Controller, RequeueAfter, Result
from orchestrator.client.informer import EventHandler
from orchestrator.client.object_key import ObjectKey, key_of
from orchestrator.controllers.context import ControllerContext
from orchestrator.controllers.pod_state import (
    BY_NODE,
    index_by_node,
    is_finished,
    is_terminating,
    node_name,
)
from orchestrator.scheduler.framework.taints import tolerates


def eviction_time(pod: JsonObject, taints: Iterable[JsonObject], now: datetime) -> datetime | None:
    """Return when the pod must leave; None if all NoExecute taints are tolerated for good.

    A taint that nothing tolerates asks for leaving now. A tolerated one counts from when it was
    added, by the shortest tolerationSeconds of those that cover it.
    """
    tolerations = pod["spec"].get("tolerations") or ()
    earliest: datetime | None = None
    for taint in taints:
        if taint["effect"] != "NoExecute":
            continue
        covering = [t for t in tolerations if tolerates(t, taint)]
        limits_s = [t["tolerationSeconds"] for t in covering if "tolerationSeconds" in t]
        if covering and not limits_s:
            continue
        added = parse_time(taint["timeAdded"]) if taint.get("timeAdded") else now
        leave = added + timedelta(seconds=max(0, min(limits_s))) if covering else now
        earliest = leave if earliest is None else min(earliest, leave)
    return earliest


class TaintEvictionController:
    """One key per pod; a node's taints changing brings all pods on it."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._nodes = context.informers.informer(NODE)
        self._pods = context.informers.informer(POD, {BY_NODE: index_by_node})
        self._controller: Controller[ObjectKey] = Controller("taint-eviction", self.reconcile)
        self._queue = self._controller.queue
        self._nodes.add_handler(EventHandler(self._node_added, self._node_updated))
        self._pods.add_handler(EventHandler(self._pod_seen, self._pod_updated))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        await self._controller.run()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Delete the pod if its time has come, else come back when it will."""
        pod = self._pods.store.get(key)
        if pod is None or is_terminating(pod) or is_finished(pod):
            return DONE
        node = self._nodes.store.get(ObjectKey("", node_name(pod)))
        if node is None:
            return DONE
        now = self._context.clock()
        leave = eviction_time(pod, (node.get("spec") or {}).get("taints") or (), now)
        if leave is None:
            return DONE
        if leave > now:
            return RequeueAfter((leave - now).total_seconds())
        message = f"Marking for deletion Pod {key}"
        self._context.recorder.event(pod, "Normal", "TaintManagerEviction", message)
        try:
            await self._context.client.delete(
                POD, key.namespace, key.name, uid=pod["metadata"]["uid"]
            )
        except StatusError as exc:
            if exc.code != 404:
                raise
        return DONE

    def _node_added(self, node: JsonObject) -> None:
        if (node.get("spec") or {}).get("taints"):
            self._add_pods_of(node)

    def _node_updated(self, old: JsonObject, node: JsonObject) -> None:
        if (old.get("spec") or {}).get("taints") != (node.get("spec") or {}).get("taints"):
            self._add_pods_of(node)

    def _add_pods_of(self, node: JsonObject) -> None:
        for pod in self._pods.store.by_index(BY_NODE, node["metadata"]["name"]):
            self._queue.add(key_of(pod))

    def _pod_seen(self, pod: JsonObject) -> None:
        if node_name(pod):
            self._queue.add(key_of(pod))

    def _pod_updated(self, old: JsonObject, pod: JsonObject) -> None:
        moved = node_name(old) != node_name(pod)
        if moved or old["spec"].get("tolerations") != pod["spec"].get("tolerations"):
            self._queue.add(key_of(pod))
