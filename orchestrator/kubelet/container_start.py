"""Start one container, or say in the words of a status why it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.api.json_object import JsonObject, nested_object
from orchestrator.client.event_recorder import EventType
from orchestrator.images.image import ImageError
from orchestrator.kubelet.config import KubeletConfig
from orchestrator.kubelet.container_config import container_config, sandbox_config
from orchestrator.kubelet.downward import PodFacts
from orchestrator.kubelet.env import ConfigError, Objects, container_environment
from orchestrator.kubelet.hooks import HookError, run_hook
from orchestrator.kubelet.pod_directory import PodDirectory
from orchestrator.kubelet.pod_view import Waiting, container_hash
from orchestrator.kubelet.probes import Prober
from orchestrator.kubelet.volumes.pod_volumes import VolumeError
from orchestrator.runtime.protocol import (
    ANNOTATION_HASH,
    ContainerConfig,
    ImageMissing,
    Runtime,
    RuntimeFailure,
    SandboxStatus,
)

HOW_TO_LOAD = (
    "images are never pulled here: put its OCI archive into `images` in the data directory "
    "and start the cluster again"
)

Event = Callable[[EventType, str, str], None]
"""Type, reason, message: recorded for the pod."""


class StartError(Exception):
    """A container did not start; `waiting` goes to its status, an event has been recorded."""

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(f"{waiting.reason}: {waiting.message}")
        self.waiting = waiting


@dataclass(frozen=True, slots=True)
class NodeServices:
    """What the workers of one node share."""

    config: KubeletConfig
    runtime: Runtime
    objects: Objects
    prober: Prober
    services: Callable[[], Iterable[JsonObject]]
    allocatable: dict[str, str]
    memory_capacity_bytes: int


async def start_container(
    node: NodeServices,
    pod: JsonObject,
    container: JsonObject,
    attempt: int,
    sandbox: SandboxStatus,
    volumes: dict[str, Path],
    event: Event,
) -> None:
    """Create and start the container's `attempt`-th incarnation; StartError where it fails."""
    runtime = node.runtime
    directory = PodDirectory.of(node.config.data_dir, pod)
    if runtime.runs_programs:
        await _check_image(runtime, container, event)
        wanted = await _config(node, pod, container, attempt, sandbox, volumes, directory, event)
    else:
        annotations = {ANNOTATION_HASH: container_hash(container)}
        name, image = container["name"], container["image"]
        wanted = ContainerConfig(name, attempt, image, "", annotations=annotations)
    try:
        in_sandbox = sandbox_config(pod, sandbox.attempt, directory, node.config)
        container_id = await runtime.create_container(sandbox.id, wanted, in_sandbox)
    except ImageMissing as error:
        raise _image_missing(container, event) from error
    except RuntimeFailure as error:
        event("Warning", "Failed", f"Error: {error}")
        raise StartError(Waiting("CreateContainerError", str(error))) from error
    event("Normal", "Created", f"Created container: {container['name']}")
    try:
        await runtime.start_container(container_id)
    except RuntimeFailure as error:
        event("Warning", "Failed", f"Error: {error}")
        raise StartError(Waiting("RunContainerError", str(error))) from error
    event("Normal", "Started", f"Started container {container['name']}")
    await _post_start(node, container, container_id, sandbox, event)


async def _check_image(runtime: Runtime, container: JsonObject, event: Event) -> None:
    image = container["image"]
    try:
        found = await runtime.find_image(image)
    except (ImageError, RuntimeFailure) as error:
        text = f'Failed to apply default image tag "{image}": {error}'
        event("Warning", "InspectFailed", text)
        raise StartError(Waiting("InvalidImageName", text)) from error
    if found is None:
        raise _image_missing(container, event)
    event("Normal", "Pulled", f'Container image "{image}" already present on machine')


def _image_missing(container: JsonObject, event: Event) -> StartError:
    image = container["image"]
    if container.get("imagePullPolicy") == "Never":
        text = f'Container image "{image}" is not present with pull policy of Never'
        event("Warning", "ErrImageNeverPull", text)
        return StartError(Waiting("ErrImageNeverPull", f"{text}; {HOW_TO_LOAD}"))
    text = f'Failed to pull image "{image}": not on this node; {HOW_TO_LOAD}'
    event("Warning", "Failed", text)
    return StartError(Waiting("ErrImagePull", text))


async def _config(
    node: NodeServices,
    pod: JsonObject,
    container: JsonObject,
    attempt: int,
    sandbox: SandboxStatus,
    volumes: dict[str, Path],
    directory: PodDirectory,
    event: Event,
) -> ContainerConfig:
    facts = pod_facts(node, pod, sandbox)
    try:
        environment = await container_environment(
            pod, container, facts, node.objects, node.services()
        )
        hosts = None
        if not pod["spec"].get("hostNetwork"):
            hosts = directory.write_hosts(pod, facts.pod_ip)
        return container_config(
            pod,
            container,
            attempt,
            environment,
            volumes,
            directory,
            hosts,
            node.memory_capacity_bytes,
        )
    except (ConfigError, VolumeError, OSError) as error:
        event("Warning", "Failed", f"Error: {error}")
        raise StartError(Waiting("CreateContainerConfigError", str(error))) from error


def pod_facts(node: NodeServices, pod: JsonObject, sandbox: SandboxStatus | None) -> PodFacts:
    """Return what the downward API may tell the pod's containers."""
    host_ip = node.config.node_ip
    ip = sandbox.ip if sandbox is not None else ""
    if pod["spec"].get("hostNetwork"):
        ip = host_ip
    return PodFacts(ip, host_ip, node.allocatable)


async def _post_start(
    node: NodeServices,
    container: JsonObject,
    container_id: str,
    sandbox: SandboxStatus,
    event: Event,
) -> None:
    hook = nested_object(container, "lifecycle", "postStart")
    if not hook:
        return
    try:
        await run_hook(node.runtime, node.prober, hook, container, container_id, sandbox.ip)
    except HookError as error:
        event("Warning", "FailedPostStartHook", f"PostStartHook failed: {error}")
        await node.runtime.stop_container(container_id, 0)
        raise StartError(Waiting("PostStartHookError", str(error))) from error


async def stop_container(
    node: NodeServices,
    container: JsonObject,
    container_id: str,
    pod_ip: str,
    grace_period_s: int,
    event: Event,
) -> None:
    """Run the preStop hook and stop the container, both within the grace period."""
    hook = nested_object(container, "lifecycle", "preStop")
    began = datetime.now(UTC)
    if hook and grace_period_s > 0:
        try:
            async with asyncio.timeout(grace_period_s):
                await run_hook(node.runtime, node.prober, hook, container, container_id, pod_ip)
        except (TimeoutError, HookError) as error:
            text = str(error) or f"not finished within {grace_period_s}s"
            event("Warning", "FailedPreStopHook", f"PreStopHook failed: {text}")
    spent_s = int((datetime.now(UTC) - began).total_seconds())
    left_s = max(grace_period_s - spent_s, 2) if hook else grace_period_s
    await node.runtime.stop_container(container_id, left_s)
