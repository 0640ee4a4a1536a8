"""The node agent: joins the cluster and runs the pods that are bound to its node."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from orchestrator.api import quantity
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import NODE, POD, SERVICE
from orchestrator.client.event_recorder import EventRecorder
from orchestrator.client.informer import EventHandler, Informer
from orchestrator.client.rest_client import RestClient
from orchestrator.kubelet.config import KubeletConfig
from orchestrator.kubelet.container_start import NodeServices
from orchestrator.kubelet.log_rotation import rotate_logs
from orchestrator.kubelet.machine import machine_facts
from orchestrator.kubelet.node import NodeReporter
from orchestrator.kubelet.node_status import allocatable
from orchestrator.kubelet.objects import ObjectCache
from orchestrator.kubelet.pod_cache import PodCache
from orchestrator.kubelet.pod_directory import log_directory, log_path
from orchestrator.kubelet.pod_worker import PodWorker
from orchestrator.kubelet.probes import Prober
from orchestrator.kubelet.server import KubeletServer
from orchestrator.kubelet.status_writer import StatusWriter
from orchestrator.runtime.protocol import ContainerState, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

REMOVE_TIMEOUT_S = 10.0
WORKER_RESTART_S = 10.0
LOG_ROTATION_INTERVAL_S = 10.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Kubelet:
    """One node's agent. `run` until cancelled; several may share a process and a client."""

    def __init__(
        self,
        config: KubeletConfig,
        client: RestClient,
        runtime: Runtime,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.config = config
        self.ready = asyncio.Event()
        """Set once the node has been posted as Ready."""
        self._client = client
        self._runtime = runtime
        self._clock = clock
        self._cache = PodCache(runtime, self._pod_changed)
        self._statuses = StatusWriter(client)
        self._recorder = EventRecorder(client, "kubelet", clock, config.node_name)
        self._prober = Prober(runtime)
        self._facts = machine_facts(config.data_dir)
        self._workers: dict[str, PodWorker] = {}
        self._services: Informer | None = None
        self._group: asyncio.TaskGroup | None = None
        self._server: KubeletServer | None = None
        self._node_services = self._make_node_services()

    def _make_node_services(self) -> NodeServices:
        resources = allocatable(self.config, self._facts)
        return NodeServices(
            config=self.config,
            runtime=self._runtime,
            objects=ObjectCache(self._client, time.monotonic, self.config.object_fresh_s),
            prober=self._prober,
            services=self._known_services,
            allocatable=resources,
            memory_capacity_bytes=quantity.value(resources["memory"]),
        )

    def _known_services(self) -> Iterable[JsonObject]:
        return self._services.store.list() if self._services is not None else ()

    async def run(self) -> None:
        """Serve, register, and run pods; on cancellation, end in order."""
        try:
            port = await self._start_server()
            await self._run(port)
        finally:
            await self._close()

    async def _start_server(self) -> int:
        if self.config.serving is None:
            return 0
        self._server = KubeletServer(
            self.config.serving, self.config.data_dir, self._cache.get, self._listed_pods
        )
        return await self._server.start()

    async def _run(self, port: int) -> None:
        node_name = self.config.node_name
        reporter = NodeReporter(
            self.config,
            self._client,
            self._runtime,
            self._facts,
            port,
            self._clock,
            self.ready,
        )
        await reporter.register()
        by_name = f"metadata.name={node_name}"
        node = Informer(self._client, NODE, field_selector=by_name)
        node.add_handler(EventHandler.for_any(reporter.observe))
        on_node = f"spec.nodeName={node_name}"
        pods = Informer(self._client, POD, field_selector=on_node)
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(reporter.run_lease(), name="kubelet/lease")
            group.create_task(reporter.run_status(), name="kubelet/node-status")
            group.create_task(node.run(), name="kubelet/node")
            group.create_task(self._recorder.run(), name="kubelet/events")
            group.create_task(self._statuses.run(), name="kubelet/pod-status")
            if self._runtime.runs_programs:
                self._services = Informer(self._client, SERVICE)
                group.create_task(self._services.run(), name="kubelet/services")
                await self._services.wait_synced()
                group.create_task(self._rotate_logs(), name="kubelet/log-rotation")
            await self._first_listing()
            pods.add_handler(EventHandler(self._on_pod, self._on_pod_update, self._on_pod_gone))
            group.create_task(pods.run(), name="kubelet/pods")
            group.create_task(self._cache.run(), name="kubelet/runtime")
            await pods.wait_synced()
            await self._remove_orphans()

    async def _first_listing(self) -> None:
        while True:
            try:
                return await self._cache.refresh()
            except RuntimeFailure as error:
                log.warning("the runtime does not answer yet: %s", error)
                await asyncio.sleep(1.0)

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_ROTATION_INTERVAL_S)
            running = [
                (
                    container.id,
                    log_directory(self.config.data_dir, sandbox.namespace, sandbox.name, uid)
                    / log_path(container.name, container.attempt),
                )
                for uid in self._cache.uids()
                for sandbox in self._cache.get(uid).sandboxes
                for container in sandbox.containers
                if container.state is ContainerState.RUNNING
            ]
            await rotate_logs(self._runtime, running, self._clock())

    def _listed_pods(self) -> list[JsonObject]:
        return [worker.pod for worker in self._workers.values()]

    def _on_pod(self, pod: JsonObject) -> None:
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is not None:
            worker.update(pod)
            return
        assert self._group is not None, "handlers run within the group"
        worker = PodWorker(
            pod, self._node_services, self._cache, self._statuses, self._recorder, self._clock
        )
        self._workers[uid] = worker
        self._group.create_task(self._work(uid, worker), name=f"pod/{pod['metadata']['name']}")

    async def _work(self, uid: str, worker: PodWorker) -> None:
        try:
            while True:
                try:
                    return await worker.run()
                except Exception:
                    # One pod's trouble must not end the node's agent.
                    log.exception("the worker of pod %s failed, will go on", uid)
                    await asyncio.sleep(WORKER_RESTART_S)
        finally:
            if self._workers.get(uid) is worker:
                del self._workers[uid]

    def _on_pod_update(self, old: JsonObject, new: JsonObject) -> None:
        if old["metadata"]["uid"] != new["metadata"]["uid"]:
            self._on_pod_gone(old)
        self._on_pod(new)

    def _on_pod_gone(self, pod: JsonObject) -> None:
        worker = self._workers.get(pod["metadata"]["uid"])
        if worker is not None:
            worker.remove()

    def _pod_changed(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake()

    async def _remove_orphans(self) -> None:
        """Remove what runs for pods that the API does not know: they went while we were down."""
        for uid in self._cache.uids():
            if uid not in self._workers:
                log.info("removing containers of pod %s, which is gone", uid)
                await self._remove_pod(uid)

    async def _remove_pod(self, uid: str) -> None:
        for sandbox in self._cache.get(uid).sandboxes:
            try:
                await self._runtime.stop_sandbox(sandbox.id)
                await self._runtime.remove_sandbox(sandbox.id)
            except RuntimeFailure as error:
                log.warning("cannot remove sandbox %s: %s", sandbox.id, error)

    async def _close(self) -> None:
        if self._server is not None:
            await self._server.stop()
        await self._prober.close()
        if self.config.remove_pods_on_stop:
            try:
                async with asyncio.timeout(REMOVE_TIMEOUT_S):
                    await self._cache.refresh()
                    await asyncio.gather(*map(self._remove_pod, self._cache.uids()))
            except (TimeoutError, RuntimeFailure) as error:
                log.warning("not all pods were removed: %s", error or "timed out")
