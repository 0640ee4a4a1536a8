"""The loop around the algorithm: take a pod, decide, assume, bind; or say why not."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Final

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import NODE, POD
from orchestrator.api.times import format_time
from orchestrator.client.conditions import find_condition
from orchestrator.client.errors import ServerUnreachableError
from orchestrator.client.event_recorder import EventRecorder
from orchestrator.client.informer import EventHandler, InformerFactory
from orchestrator.client.rest_client import STRATEGIC_MERGE_PATCH, RestClient
from orchestrator.scheduler.config import SchedulerConfig
from orchestrator.scheduler.framework.cluster_state import ClusterState
from orchestrator.scheduler.framework.pod_info import PodInfo
from orchestrator.scheduler.framework.scheduling import SchedulingAlgorithm
from orchestrator.scheduler.scheduling_queue import QueuedPod, SchedulingQueue

log = logging.getLogger(__name__)

DECISIONS_PER_TURN_MAX: Final = 32
"""Decisions made without giving the event loop a turn, so that watches keep flowing."""


class Scheduler:
    """Schedules all pods of one scheduler name; one instance per cluster (no leader election)."""

    def __init__(
        self,
        client: RestClient,
        config: SchedulerConfig,
        informers: InformerFactory,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._config = config
        self._clock = clock
        self._recorder = EventRecorder(client, config.scheduler_name, clock)
        self._state = ClusterState()
        self._algorithm = SchedulingAlgorithm(self._state, random.Random(config.seed))
        self._queue = SchedulingQueue()
        self._writing = asyncio.Semaphore(config.bindings_max)
        """One slot from a decision until its binding, or its failure, is written."""
        self._informers = informers
        self._pods = informers.informer(POD)
        self._nodes = informers.informer(NODE)
        self._nodes.add_handler(
            EventHandler(self._node_changed, self._node_updated, self._node_deleted)
        )
        self._pods.add_handler(
            EventHandler(self._pod_changed, self._pod_updated, self._pod_deleted)
        )

    async def run(self) -> None:
        """Schedule until cancelled. The informers are run by the caller."""
        await self._nodes.wait_synced()
        await self._pods.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run(), name="scheduler/events")
            group.create_task(self._schedule(group), name="scheduler/decisions")

    async def _schedule(self, group: asyncio.TaskGroup) -> None:
        decisions = 0
        while True:
            queued = await self._queue.take()
            await self._writing.acquire()
            group.create_task(self._decide(queued))
            decisions += 1
            if decisions % DECISIONS_PER_TURN_MAX == 0:
                await asyncio.sleep(0)

    def _decide(self, queued: QueuedPod) -> Coroutine[None, None, None]:
        """Decide for one pod at once; return what is left to do, which gives back the slot."""
        pod = queued.pod
        try:
            info = PodInfo.from_pod(pod)
            decision = self._algorithm.decide(info)
        except (KeyError, ValueError) as exc:
            log.exception("pod cannot be scheduled: %s", pod["metadata"]["name"])
            return self._report_failure(queued, f"the pod cannot be read: {exc!r}")
        if decision.node_name is None:
            return self._report_failure(queued, decision.message)
        self._state.place(info, decision.node_name)
        return self._bind(queued, info, decision.node_name)

    async def _bind(self, queued: QueuedPod, info: PodInfo, node_name: str) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": info.name, "namespace": info.namespace, "uid": info.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
        }
        try:
            await self._client.create(
                POD, info.namespace, binding, name=info.name, subresource="binding"
            )
        except (StatusError, ServerUnreachableError) as exc:
            self._state.displace(info.uid)
            log.info("binding failed: pod=%s/%s: %s", info.namespace, info.name, exc)
            if isinstance(exc, StatusError) and exc.code == 404:
                self._queue.remove(info.uid)
            else:
                self._queue.retry(queued)
            self._queue.cluster_changed()
            return
        finally:
            self._writing.release()
        self._queue.remove(info.uid)
        message = f"Successfully assigned {info.namespace}/{info.name} to {node_name}"
        self._recorder.event(queued.pod, "Normal", "Scheduled", message)

    async def _report_failure(self, queued: QueuedPod, message: str) -> None:
        """Say why in the pod's PodScheduled condition and an event, and let it wait."""
        pod = queued.pod
        self._queue.failed(queued)
        self._recorder.event(pod, "Warning", "FailedScheduling", message)
        known = find_condition(pod, "PodScheduled")
        try:
            if known is None or known.get("message") != message:
                await self._write_condition(pod, message)
        except (StatusError, ServerUnreachableError) as exc:
            log.debug("condition not written: pod=%s: %s", pod["metadata"]["name"], exc)
        finally:
            self._writing.release()

    async def _write_condition(self, pod: JsonObject, message: str) -> None:
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": format_time(self._clock()),
        }
        metadata = pod["metadata"]
        patch = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [condition]}}
        await self._client.patch(
            POD,
            metadata["namespace"],
            metadata["name"],
            patch,
            STRATEGIC_MERGE_PATCH,
            subresource="status",
        )

    def _node_changed(self, node: JsonObject) -> None:
        self._state.set_node(node)
        self._queue.cluster_changed()

    def _node_updated(self, old: JsonObject, node: JsonObject) -> None:
        """Heartbeats change a node's status all the time, but nothing that places pods."""
        if _placing_parts(old) != _placing_parts(node):
            self._node_changed(node)

    def _node_deleted(self, node: JsonObject) -> None:
        self._state.remove_node(node["metadata"]["name"])

    def _pod_updated(self, old: JsonObject, pod: JsonObject) -> None:
        self._pod_changed(pod)

    def _pod_changed(self, pod: JsonObject) -> None:
        uid = pod["metadata"]["uid"]
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self._pod_deleted(pod)
        elif pod["spec"].get("nodeName"):
            self._queue.remove(uid)
            self._place(pod)
        elif self._is_ours(pod) and self._state.node_of(uid) is None:
            # A pod that is assumed somewhere only has an old event on its way.
            if "deletionTimestamp" in pod["metadata"] or pod["spec"].get("schedulingGates"):
                self._queue.remove(uid)
            else:
                self._queue.add(pod)

    def _place(self, pod: JsonObject) -> None:
        try:
            self._state.place(PodInfo.from_pod(pod), pod["spec"]["nodeName"])
        except ValueError:
            log.exception("pod not counted: %s", pod["metadata"]["name"])

    def _pod_deleted(self, pod: JsonObject) -> None:
        """Gone or finished: its room is free."""
        uid = pod["metadata"]["uid"]
        self._queue.remove(uid)
        if self._state.node_of(uid) is not None:
            self._state.displace(uid)
            self._queue.cluster_changed()

    def _is_ours(self, pod: JsonObject) -> bool:
        name = pod["spec"].get("schedulerName") or "default-scheduler"
        return bool(name == self._config.scheduler_name)


def _placing_parts(node: JsonObject) -> tuple[object, ...]:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    return (
        node["metadata"].get("labels"),
        spec.get("taints"),
        spec.get("unschedulable"),
        status.get("allocatable"),
    )
