"""A pod as its worker sees it: the spec from the API, the containers from the runtime, its notes.

Everything that decides (`pod_plan`, `status`) reads these values only, and takes the time as an
argument.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.api.json_object import JsonObject, nested_list
from orchestrator.runtime.protocol import ContainerState, ContainerStatus, SandboxStatus

TERMINAL_PHASES = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class PodContainers:
    """What the runtime has of one pod: sandboxes, the newest first."""

    sandboxes: tuple[SandboxStatus, ...] = ()

    @property
    def sandbox(self) -> SandboxStatus | None:
        """The newest sandbox."""
        return self.sandboxes[0] if self.sandboxes else None

    def history(self, name: str) -> list[ContainerStatus]:
        """Return the container's incarnations, the newest first."""
        found = [c for s in self.sandboxes for c in s.containers if c.name == name]
        return sorted(found, key=lambda c: (c.attempt, c.created_at_ns), reverse=True)

    def latest(self, name: str) -> ContainerStatus | None:
        history = self.history(name)
        return history[0] if history else None

    def in_sandbox(self, name: str) -> ContainerStatus | None:
        """Return the newest incarnation in the newest sandbox."""
        latest = self.latest(name)
        sandbox = self.sandbox
        if latest is None or sandbox is None or latest.sandbox_id != sandbox.id:
            return None
        return latest

    @property
    def running(self) -> list[ContainerStatus]:
        return [
            container
            for sandbox in self.sandboxes
            for container in sandbox.containers
            if container.state is ContainerState.RUNNING
        ]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container is not running yet: a status' `waiting` entry."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class ProbeVerdicts:
    """What the probes of running containers say, by container id.

    A container without a probe of a kind is in `started` and `ready` as soon as it runs.
    """

    started: frozenset[str] = frozenset()
    ready: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)
    """Containers to kill, and the event's words: a liveness or startup probe gave up."""


@dataclass(frozen=True, slots=True)
class PodNotes:
    """What the worker remembers between two looks at its pod. Times in seconds since the epoch."""

    probes: ProbeVerdicts = ProbeVerdicts()
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    """By container: why its last start failed."""
    retry_at: Mapping[str, float] = field(default_factory=dict)
    """By container: not before this time."""
    restart_delay_s: Mapping[str, float] = field(default_factory=dict)
    """By container: its crash back-off, counted from its end."""
    failure: tuple[str, str] | None = None
    """Reason and message where the kubelet has failed the whole pod."""
    termination_messages: Mapping[str, str] = field(default_factory=dict)
    """By container id."""


def containers_of(pod: JsonObject) -> list[JsonObject]:
    return nested_list(pod, "spec", "containers")


def init_containers_of(pod: JsonObject) -> list[JsonObject]:
    return nested_list(pod, "spec", "initContainers")


def is_sidecar(container: JsonObject) -> bool:
    """Return True for an init container that stays up beside the main ones."""
    return container.get("restartPolicy") == "Always"


def is_deleted(pod: JsonObject) -> bool:
    return pod["metadata"].get("deletionTimestamp") is not None


def restart_policy(pod: JsonObject) -> str:
    policy: str = pod["spec"].get("restartPolicy") or "Always"
    return policy


def should_restart(pod: JsonObject, container: JsonObject, exit_code: int, init: bool) -> bool:
    """Return True where a container that ended with `exit_code` is to run again."""
    if is_sidecar(container):
        return True
    policy = restart_policy(pod)
    if init:
        return exit_code != 0 and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def api_container_status(pod: JsonObject, name: str) -> JsonObject:
    """Return the container's status as last posted, {} where there is none."""
    for field_name in ("containerStatuses", "initContainerStatuses"):
        for status in nested_list(pod, "status", field_name):
            if status.get("name") == name:
                found: JsonObject = status
                return found
    return {}


def next_attempt(pod: JsonObject, containers: PodContainers, name: str) -> int:
    """Return the restart count of the next incarnation.

    Where the runtime has lost the last one (the machine restarted), the API's count goes on.
    """
    latest = containers.latest(name)
    if latest is not None:
        return latest.attempt + 1
    posted = api_container_status(pod, name)
    if posted.get("containerID"):
        return int(posted.get("restartCount", 0)) + 1
    return 0


def container_hash(container: JsonObject) -> str:
    """Return a digest of what cannot change under a running container: today, its image."""
    identity: dict[str, Any] = {"name": container["name"], "image": container.get("image")}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
