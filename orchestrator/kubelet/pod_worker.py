"""One pod, one worker: look, plan, act, look again; nobody else touches the pod's containers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from orchestrator.api.json_object import JsonObject
from orchestrator.api.times import parse_time
from orchestrator.client.event_recorder import EventRecorder, EventType
from orchestrator.kubelet.admission import unsupported_features
from orchestrator.kubelet.backoff import RestartBackoff
from orchestrator.kubelet.container_config import sandbox_config
from orchestrator.kubelet.container_start import (
    NodeServices,
    StartError,
    pod_facts,
    start_container,
    stop_container,
)
from orchestrator.kubelet.pod_cache import PodCache
from orchestrator.kubelet.pod_directory import PodDirectory
from orchestrator.kubelet.pod_plan import (
    Action,
    CreateSandbox,
    PodPlan,
    RemoveContainer,
    RemoveSandbox,
    StartContainer,
    StopContainer,
    StopPod,
    grace_period_s,
    plan_pod_actions,
)
from orchestrator.kubelet.pod_probes import PodProbes
from orchestrator.kubelet.pod_view import (
    PodContainers,
    PodNotes,
    ProbeVerdicts,
    Waiting,
    containers_of,
    init_containers_of,
    is_deleted,
    should_restart,
)
from orchestrator.kubelet.status import NodeIdentity, compute_pod_status
from orchestrator.kubelet.status_writer import StatusWriter
from orchestrator.kubelet.volumes.pod_volumes import (
    VolumeContext,
    VolumeError,
    prepare_volumes,
    unsupported_volumes,
)
from orchestrator.runtime.protocol import ContainerState, RuntimeFailure

log = logging.getLogger(__name__)

RETRY_S = 2.0
"""After a start that failed for a reason that somebody may cure at any time."""

IMAGE_RETRY_S = 10.0
"""A look for a local image costs next to nothing, so there is no growing back-off."""

IMAGE_BACKOFF_SHOWN_AFTER_S = 2.0
FAULT_RETRY_S = 10.0


class PodWorker:
    """Drives the pod until it is gone from the API and from the node."""

    def __init__(
        self,
        pod: JsonObject,
        node: NodeServices,
        cache: PodCache,
        statuses: StatusWriter,
        recorder: EventRecorder,
        clock: Callable[[], datetime],
    ) -> None:
        self._pod = pod
        self._uid: str = pod["metadata"]["uid"]
        self._node = node
        self._cache = cache
        self._statuses = statuses
        self._recorder = recorder
        self._clock = clock
        self._directory = PodDirectory.of(node.config.data_dir, pod)
        self._identity = NodeIdentity(node.config.node_ip, node.runtime.name)
        self._backoff = RestartBackoff()
        self._removed = False
        self._wake = asyncio.Event()
        self._probes: PodProbes | None = None
        self._verdicts = ProbeVerdicts()
        self._waiting: dict[str, Waiting] = {}
        self._retry_at: dict[str, float] = {}
        self._failed_at: dict[str, float] = {}
        self._failure: tuple[str, str] | None = None
        self._messages: dict[str, str] = {}
        self._crash_reported: set[str] = set()
        self._volumes: dict[str, Path] | None = None
        self._volumes_at = 0.0

    @property
    def pod(self) -> JsonObject:
        """The pod's newest version."""
        return self._pod

    def update(self, pod: JsonObject) -> None:
        """Take the pod's newest version from the API."""
        self._pod = pod
        self._wake.set()

    def remove(self) -> None:
        """The pod is gone from the API: stop what runs, clean up, end."""
        self._removed = True
        self._wake.set()

    def wake(self) -> None:
        """Something may have changed in the runtime."""
        self._wake.set()

    async def run(self) -> None:
        """Work until the pod is gone."""
        async with asyncio.TaskGroup() as group:
            self._probes = PodProbes(self._node.prober, group, self.wake, self._probe_failed)
            try:
                while (pause_s := await self._sync_once()) is not None:
                    await self._wait(pause_s)
            finally:
                self._probes.close()

    async def _wait(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _sync_once(self) -> float | None:
        """Bring the pod forward; return when to look again in seconds, None at the end."""
        self._wake.clear()
        try:
            return await self._sync()
        except RuntimeFailure as error:
            self._event("Warning", "FailedSync", f"error syncing pod, will retry: {error}")
            return RETRY_S
        except Exception:
            log.exception("pod %s: unexpected error, will retry", self._name())
            return FAULT_RETRY_S

    async def _sync(self) -> float | None:
        while True:
            pod = self._current_pod()
            containers = self._cache.get(self._uid)
            now = self._clock().timestamp()
            notes = self._take_notes(pod, containers, now)
            plan = plan_pod_actions(pod, containers, notes, now)
            if not plan.actions:
                break
            self._publish(pod, containers, notes)
            for action in plan.actions:
                await self._act(action, containers)
            await self._cache.refresh()
        if self._removed:
            await self._clean_up(containers)
            return None
        await self._follow_volumes(pod, containers, now)
        self._publish(pod, containers, notes, finished=is_deleted(pod))
        return self._pause_s(plan, now)

    def _current_pod(self) -> JsonObject:
        if not self._removed or is_deleted(self._pod):
            return self._pod
        gone = {"deletionTimestamp": "gone"}
        return self._pod | {"metadata": self._pod["metadata"] | gone}

    def _take_notes(self, pod: JsonObject, containers: PodContainers, now: float) -> PodNotes:
        assert self._probes is not None, "run() makes them"
        if self._node.runtime.runs_programs and not is_deleted(pod):
            ip = pod_facts(self._node, pod, containers.sandbox).pod_ip
            self._verdicts = self._probes.follow(pod, containers, ip)
        else:
            self._probes.close()
            running = frozenset(c.id for c in containers.running)
            self._verdicts = ProbeVerdicts(running, running)
        self._check_deadline(pod, now)
        self._report_crash_loops(pod, containers, now)
        self._read_last_words(pod, containers)
        names = [c["name"] for c in [*init_containers_of(pod), *containers_of(pod)]]
        return PodNotes(
            probes=self._verdicts,
            waiting=self._shown_waiting(now),
            retry_at=self._retry_at,
            restart_delay_s={name: self._backoff.delay_s(name, now) for name in names},
            failure=self._failure,
            termination_messages=self._messages,
        )

    def _shown_waiting(self, now: float) -> dict[str, Waiting]:
        """ErrImagePull is shown for a moment after each look, ImagePullBackOff in between."""
        shown = dict(self._waiting)
        for name, waiting in shown.items():
            age_s = now - self._failed_at.get(name, now)
            if waiting.reason == "ErrImagePull" and age_s >= IMAGE_BACKOFF_SHOWN_AFTER_S:
                text = f"Back-off pulling image: {waiting.message}"
                shown[name] = Waiting("ImagePullBackOff", text)
        return shown

    def _check_deadline(self, pod: JsonObject, now: float) -> None:
        limit = pod["spec"].get("activeDeadlineSeconds")
        start = (pod.get("status") or {}).get("startTime")
        if limit is None or start is None or self._failure is not None:
            return
        deadline = parse_time(start).timestamp() + limit
        if now >= deadline:
            text = "Pod was active on the node longer than the specified deadline"
            self._failure = ("DeadlineExceeded", text)
            self._event("Normal", "DeadlineExceeded", text)
        else:
            self._retry_at["deadline"] = deadline

    def _report_crash_loops(self, pod: JsonObject, containers: PodContainers, now: float) -> None:
        """Record one event for each wait of a container that keeps ending."""
        for spec in containers_of(pod):
            name = spec["name"]
            latest = containers.latest(name)
            if latest is None or latest.state is not ContainerState.EXITED:
                continue
            blocked_until = latest.finished_at_ns / 1e9 + self._backoff.delay_s(name, now)
            again = should_restart(pod, spec, latest.exit_code, init=False)
            if again and blocked_until > now and name not in self._crash_reported:
                self._crash_reported.add(name)
                text = f"Back-off restarting failed container {name} in pod {self._name()}"
                self._event("Warning", "BackOff", text)

    def _read_last_words(self, pod: JsonObject, containers: PodContainers) -> None:
        if not self._node.runtime.runs_programs:
            return
        for spec in [*init_containers_of(pod), *containers_of(pod)]:
            for ended in containers.history(spec["name"]):
                if ended.state is ContainerState.EXITED and ended.id not in self._messages:
                    self._messages[ended.id] = self._directory.read_termination_message(
                        spec, ended.attempt, ended.exit_code
                    )

    def _publish(
        self, pod: JsonObject, containers: PodContainers, notes: PodNotes, finished: bool = False
    ) -> None:
        if self._removed:
            return
        status = compute_pod_status(pod, containers, notes, self._identity, self._clock())
        self._statuses.set(pod, status, finished)

    def _pause_s(self, plan: PodPlan, now: float) -> float:
        wake_at = now + self._node.config.sync_interval_s
        times = [at for at in self._retry_at.values() if at > now]
        times += [at + IMAGE_BACKOFF_SHOWN_AFTER_S for at in self._failed_at.values()]
        if plan.wake_at is not None:
            times.append(plan.wake_at)
        if self._volumes and self._node.runtime.runs_programs:
            times.append(self._volumes_at + self._node.config.follow_interval_s)
        return max(min([wake_at, *(at for at in times if at > now)]) - now, 0.01)

    async def _act(self, action: Action, containers: PodContainers) -> None:
        runtime = self._node.runtime
        match action:
            case CreateSandbox():
                await self._create_sandbox(action)
            case StartContainer():
                await self._start(action)
            case StopContainer():
                self._event("Normal", "Killing", action.message)
                await self._stop(action.id, action.name, action.grace_period_s, containers)
            case StopPod():
                await self._stop_pod(action, containers)
            case RemoveContainer():
                await runtime.remove_container(action.id)
            case RemoveSandbox():
                await runtime.remove_sandbox(action.id)

    async def _create_sandbox(self, action: CreateSandbox) -> None:
        try:
            self._refuse_unsupported()
            await self._ensure_volumes()
            config = sandbox_config(self._pod, action.attempt, self._directory, self._node.config)
            await self._node.runtime.run_sandbox(config)
        except VolumeError as error:
            self._event("Warning", "FailedMount", str(error))
        except RuntimeFailure as error:
            text = f"Failed to create pod sandbox: {error}"
            self._event("Warning", "FailedCreatePodSandBox", text)
        else:
            self._retry_at.pop("", None)
            return
        self._retry_at[""] = self._clock().timestamp() + RETRY_S

    def _refuse_unsupported(self) -> None:
        if self._node.runtime.runs_programs and (refused := unsupported_features(self._pod)):
            raise RuntimeFailure("; ".join(refused))

    async def _start(self, action: StartContainer) -> None:
        name = action.name
        specs = [*init_containers_of(self._pod), *containers_of(self._pod)]
        spec = next(c for c in specs if c["name"] == name)
        sandbox = self._cache.get(self._uid).sandbox
        if sandbox is None:
            return
        now = self._clock().timestamp()
        if action.attempt > 0:
            self._backoff.advance(name, now)
            self._crash_reported.discard(name)
        try:
            volumes = await self._ensure_volumes()
            event = self._event
            await start_container(
                self._node, self._pod, spec, action.attempt, sandbox, volumes, event
            )
        except VolumeError as error:
            self._event("Warning", "FailedMount", str(error))
            self._start_failed(name, Waiting("ContainerCreating"), now)
        except StartError as error:
            self._start_failed(name, error.waiting, now)
        else:
            self._waiting.pop(name, None)
            self._retry_at.pop(name, None)
            self._failed_at.pop(name, None)

    def _start_failed(self, name: str, waiting: Waiting, now: float) -> None:
        self._waiting[name] = waiting
        self._failed_at[name] = now
        retry_s = IMAGE_RETRY_S if waiting.reason.startswith("ErrImage") else RETRY_S
        self._retry_at[name] = now + retry_s

    async def _stop(
        self, id: str, name: str, grace_period_s: int, containers: PodContainers
    ) -> None:
        specs = [*init_containers_of(self._pod), *containers_of(self._pod)]
        spec = next((c for c in specs if c["name"] == name), {"name": name})
        ip = pod_facts(self._node, self._pod, containers.sandbox).pod_ip
        await stop_container(self._node, spec, id, ip, grace_period_s, self._event)

    async def _stop_pod(self, action: StopPod, containers: PodContainers) -> None:
        for container in containers.running:
            self._event("Normal", "Killing", f"Stopping container {container.name}")
        stopping = asyncio.create_task(self._stop_all(action.grace_period_s, containers))
        hurry = asyncio.create_task(self._less_grace(action.grace_period_s))
        try:
            await asyncio.wait((stopping, hurry), return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            if not stopping.done():
                stopping.cancel()
            await asyncio.gather(stopping, hurry, return_exceptions=True)
        if stopping.cancelled():
            return  # the next look plans another StopPod, with less grace
        stopping.result()
        for sandbox in containers.sandboxes:
            if sandbox.ready:
                await self._node.runtime.stop_sandbox(sandbox.id)

    async def _stop_all(self, grace_period_s: int, containers: PodContainers) -> None:
        await asyncio.gather(
            *(
                self._stop(container.id, container.name, grace_period_s, containers)
                for container in containers.running
            )
        )

    async def _less_grace(self, than_s: int) -> None:
        """Return once the pod is to be gone sooner than when its end began."""
        while grace_period_s(self._pod) >= than_s:
            await self._wake.wait()
            self._wake.clear()

    async def _ensure_volumes(self) -> dict[str, Path]:
        if self._volumes is None:
            self._volumes = await self._prepare_volumes()
        return self._volumes

    async def _prepare_volumes(self) -> dict[str, Path]:
        if not self._node.runtime.runs_programs:
            return {}
        refused = unsupported_volumes(self._pod)
        if refused:
            raise VolumeError("; ".join(refused))
        sandbox = self._cache.get(self._uid).sandbox
        context = VolumeContext(
            pod_directory=self._directory.root,
            objects=self._node.objects,
            facts=pod_facts(self._node, self._pod, sandbox),
            now=self._clock(),
        )
        self._volumes_at = context.now.timestamp()
        return await prepare_volumes(self._pod, context)

    async def _follow_volumes(self, pod: JsonObject, containers: PodContainers, now: float) -> None:
        """Show running containers what has changed in ConfigMaps and Secrets."""
        due = now - self._volumes_at >= self._node.config.follow_interval_s
        if not self._volumes or not due or is_deleted(pod) or not containers.running:
            return
        try:
            self._volumes = await self._prepare_volumes()
        except VolumeError as error:
            self._event("Warning", "FailedMount", str(error))

    async def _clean_up(self, containers: PodContainers) -> None:
        for sandbox in containers.sandboxes:
            await self._node.runtime.remove_sandbox(sandbox.id)
        self._statuses.forget(self._uid)
        if self._node.runtime.runs_programs:
            await asyncio.to_thread(self._directory.remove)

    def _probe_failed(self, container: JsonObject, kind: str, message: str) -> None:
        self._event("Warning", "Unhealthy", f"{kind} probe failed: {message}")

    def _event(self, type: EventType, reason: str, message: str) -> None:
        if not self._node.runtime.runs_programs:
            return  # nothing has really happened, and events are most of a pod's writes
        pod = {"kind": "Pod", "apiVersion": "v1", **self._pod}
        self._recorder.event(pod, type, reason, message)

    def _name(self) -> str:
        metadata = self._pod["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"
