"""The probes of one pod's running containers, and the verdicts that its plan reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from orchestrator.api.json_object import JsonObject
from orchestrator.kubelet.pod_view import (
    PodContainers,
    ProbeVerdicts,
    containers_of,
    init_containers_of,
    is_sidecar,
)
from orchestrator.kubelet.probes import Prober, ProbeTarget, run_probe
from orchestrator.runtime.protocol import ContainerState, ContainerStatus

KINDS = ("startupProbe", "livenessProbe", "readinessProbe")

OnFailure = Callable[[JsonObject, str, str], None]
"""Container, kind of probe ("Liveness"), what went wrong."""


class PodProbes:
    """Starts and cancels probe loops in the worker's task group as containers come and go."""

    def __init__(
        self, prober: Prober, group: asyncio.TaskGroup, wake: Callable[[], None], failed: OnFailure
    ) -> None:
        self._prober = prober
        self._group = group
        self._wake = wake
        self._failed = failed
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._verdicts: dict[tuple[str, str], bool] = {}
        self._messages: dict[str, str] = {}

    def follow(self, pod: JsonObject, containers: PodContainers, pod_ip: str) -> ProbeVerdicts:
        """Probe exactly the containers that run now; return what is known of them."""
        running = dict(_running(pod, containers))
        for key in [key for key in self._tasks if key[0] not in running]:
            self._tasks.pop(key).cancel()
            self._verdicts.pop(key, None)
        self._messages = {id: text for id, text in self._messages.items() if id in running}
        started, ready = set(), set()
        for id, spec in running.items():
            if self._started(id, spec, pod_ip):
                started.add(id)
                self._begin(id, spec, "livenessProbe", pod_ip)
                self._begin(id, spec, "readinessProbe", pod_ip)
                if spec.get("readinessProbe") is None or self._verdicts.get((id, "readinessProbe")):
                    ready.add(id)
        return ProbeVerdicts(frozenset(started), frozenset(ready), dict(self._messages))

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _started(self, id: str, spec: JsonObject, pod_ip: str) -> bool:
        if spec.get("startupProbe") is None:
            return True
        self._begin(id, spec, "startupProbe", pod_ip)
        if not self._verdicts.get((id, "startupProbe")):
            return False
        # It has done its work; the loop's cancelled task stays as a mark not to begin again.
        self._tasks[(id, "startupProbe")].cancel()
        return True

    def _begin(self, id: str, spec: JsonObject, kind: str, pod_ip: str) -> None:
        probe = spec.get(kind)
        if probe is None or (id, kind) in self._tasks:
            return

        def on_verdict(ok: bool, message: str) -> None:
            self._verdicts[(id, kind)] = ok
            if not ok:
                words = kind.removesuffix("Probe").capitalize()
                self._failed(spec, words, message)
                if kind != "readinessProbe":
                    text = f"Container {spec['name']} failed {words.lower()} probe"
                    self._messages[id] = f"{text}, will be restarted"
            self._wake()

        target = ProbeTarget(id, pod_ip, spec)
        loop = run_probe(self._prober, probe, target, on_verdict)
        self._tasks[(id, kind)] = self._group.create_task(loop, name=f"{kind}/{id[:12]}")


def _running(pod: JsonObject, containers: PodContainers) -> Iterator[tuple[str, JsonObject]]:
    specs = [*containers_of(pod), *filter(is_sidecar, init_containers_of(pod))]
    for spec in specs:
        current: ContainerStatus | None = containers.in_sandbox(spec["name"])
        if current is not None and current.state is ContainerState.RUNNING:
            yield current.id, spec
