"""Delete pods that nobody else will: of gone nodes, never scheduled, or finished long ago."""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import NODE, POD
from orchestrator.client.controller import DONE, Controller, Result
from orchestrator.client.object_key import ObjectKey
from orchestrator.controllers.context import ControllerContext
from orchestrator.controllers.pod_state import is_finished, is_terminating, node_name

PERIOD_S: Final = 20.0
QUARANTINE: Final = timedelta(seconds=40)
"""How long a pod's node must be missing: a cache may show pods before their new node."""
FINISHED_PODS_MAX: Final = 12_500


@dataclass(frozen=True, slots=True)
class PodGcPlan:
    """Pods to delete at once, without grace."""

    orphaned: list[JsonObject]
    unscheduled: list[JsonObject]
    finished: list[JsonObject]


def plan_pod_gc(
    pods: Iterable[JsonObject],
    nodes: Collection[str],
    missing_since: dict[str, datetime],
    now: datetime,
) -> PodGcPlan:
    """Choose the pods; `missing_since` is kept up to date with the nodes that are missing."""
    orphaned, unscheduled, finished = [], [], []
    missing: set[str] = set()
    for pod in pods:
        node = node_name(pod)
        if node and node not in nodes:
            missing.add(node)
            if now - missing_since.setdefault(node, now) >= QUARANTINE:
                orphaned.append(pod)
        elif not node and is_terminating(pod):
            unscheduled.append(pod)
        elif is_finished(pod) and not is_terminating(pod):
            finished.append(pod)
    for node in missing_since.keys() - missing:
        del missing_since[node]
    finished.sort(key=lambda pod: pod["metadata"].get("creationTimestamp", ""))
    surplus = finished[: max(0, len(finished) - FINISHED_PODS_MAX)]
    return PodGcPlan(orphaned, unscheduled, surplus)


class PodGcController:
    """Looks at all pods each period."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._pods = context.informers.informer(POD)
        self._nodes = context.informers.informer(NODE)
        self._missing_since: dict[str, datetime] = {}
        self._controller: Controller[ObjectKey] = Controller("pod-gc", self.reconcile)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._controller.run())
            group.create_task(self._collect())

    async def _collect(self) -> None:
        while True:
            nodes = {key.name for key in self._nodes.store.object_keys()}
            now = self._context.clock()
            plan = plan_pod_gc(self._pods.store, nodes, self._missing_since, now)
            for pod in (*plan.orphaned, *plan.unscheduled, *plan.finished):
                metadata = pod["metadata"]
                self._controller.queue.add(ObjectKey(metadata["namespace"], metadata["name"]))
            await asyncio.sleep(PERIOD_S)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Delete one chosen pod, if it still is the one that was chosen."""
        pod = self._pods.store.get(key)
        if pod is None:
            return DONE
        try:
            await self._context.client.delete(
                POD, key.namespace, key.name, grace_period_s=0, uid=pod["metadata"]["uid"]
            )
        except StatusError as exc:
            if exc.code != 404:
                raise
        return DONE
