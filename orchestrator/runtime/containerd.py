"""Run pods in containerd through CRI v1."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from orchestrator.cri.client import CriClient, CriError
from orchestrator.pb.cri import api_pb2
from orchestrator.runtime.containerd_config import ContainerdLayout
from orchestrator.runtime.cri_messages import container_message, sandbox_message
from orchestrator.runtime.pod_network import cni_configuration
from orchestrator.runtime.protocol import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    ExecResult,
    ImageInfo,
    ImageMissing,
    RuntimeFailure,
    SandboxConfig,
    SandboxStatus,
)

_STATES: Mapping[int, ContainerState] = {
    api_pb2.CONTAINER_CREATED: ContainerState.CREATED,
    api_pb2.CONTAINER_RUNNING: ContainerState.RUNNING,
    api_pb2.CONTAINER_EXITED: ContainerState.EXITED,
}

RELIST_INTERVAL_S = 1.0
"""containerd 1.6 has no CRI event stream: an exit is seen this late at worst."""

_Answer = TypeVar("_Answer")


class ContainerdRuntime:
    """Pods in the containerd at `layout.socket`, whose only client this is."""

    name = "containerd"
    runs_programs = True

    def __init__(self, layout: ContainerdLayout) -> None:
        self._layout = layout
        self._client = CriClient(str(layout.socket))
        # What cannot change any more is asked for once: exited containers, addresses of
        # sandboxes. Both are pruned to what the last listing still had.
        self._containers: dict[str, ContainerStatus] = {}
        self._addresses: dict[str, str] = {}

    async def close(self) -> None:
        await self._client.close()

    async def version(self) -> str:
        return (await _checked(self._client.version())).runtime_version

    async def problem(self) -> str:
        conditions = await _checked(self._client.status())
        bad = [condition for condition in conditions.values() if not condition.status]
        return "; ".join(f"{c.type}: {c.reason}: {c.message}" for c in bad)

    async def configure(self, pod_cidr: str) -> None:
        text = cni_configuration(self._layout.bridge, pod_cidr, self._layout.cni_leases)
        target = self._layout.cni_conf / "10-orchestrator.conflist"
        if target.exists() and target.read_text() == text:
            return
        temporary = target.with_suffix(".new")
        temporary.write_text(text)
        os.replace(temporary, target)

    async def list_pods(self) -> Sequence[SandboxStatus]:
        sandboxes = await _checked(self._client.list_pod_sandbox())
        listed = await _checked(self._client.list_containers())
        known, self._containers = self._containers, {}
        by_sandbox: dict[str, list[ContainerStatus]] = {}
        for container in sorted(listed, key=lambda c: c.created_at):
            status = known.get(container.id)
            if status is None or status.state is not _STATES.get(container.state):
                status = await self._container_status(container.id, container.pod_sandbox_id)
            if status is not None:
                self._containers[status.id] = status
                by_sandbox.setdefault(status.sandbox_id, []).append(status)
        addresses, self._addresses = self._addresses, {}
        result = []
        for sandbox in sandboxes:
            ip = addresses.get(sandbox.id)
            if ip is None:
                ip = await self._address(sandbox.id)
            self._addresses[sandbox.id] = ip
            containers = tuple(by_sandbox.get(sandbox.id, ()))
            result.append(_sandbox_status(sandbox, ip, containers))
        return result

    async def wait_change(self) -> None:
        await asyncio.sleep(RELIST_INTERVAL_S)

    async def _container_status(self, id: str, sandbox_id: str) -> ContainerStatus | None:
        try:
            status = await self._client.container_status(id)
        except CriError as error:
            if error.not_found:
                return None
            raise RuntimeFailure(error.text) from error
        return ContainerStatus(
            id=id,
            sandbox_id=sandbox_id,
            name=status.metadata.name,
            attempt=status.metadata.attempt,
            state=_STATES.get(status.state, ContainerState.UNKNOWN),
            created_at_ns=status.created_at,
            started_at_ns=status.started_at,
            finished_at_ns=status.finished_at,
            exit_code=status.exit_code,
            reason=status.reason,
            message=status.message,
            image=status.image.image,
            image_ref=status.image_ref,
            annotations=dict(status.annotations),
        )

    async def _address(self, sandbox_id: str) -> str:
        try:
            return (await self._client.pod_sandbox_status(sandbox_id)).network.ip
        except CriError as error:
            if error.not_found:
                return ""
            raise RuntimeFailure(error.text) from error

    async def run_sandbox(self, config: SandboxConfig) -> SandboxStatus:
        config.log_directory.mkdir(parents=True, exist_ok=True)
        sandbox_id = await _checked(self._client.run_pod_sandbox(self._sandbox_message(config)))
        status = await _checked(self._client.pod_sandbox_status(sandbox_id))
        self._addresses[sandbox_id] = status.network.ip
        return _sandbox_status(status, status.network.ip, ())

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await _checked(self._client.stop_pod_sandbox(sandbox_id))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await _checked(self._client.remove_pod_sandbox(sandbox_id))

    async def create_container(
        self, sandbox_id: str, container: ContainerConfig, sandbox: SandboxConfig
    ) -> str:
        if await self.find_image(container.image) is None:
            raise ImageMissing(container.image)
        (sandbox.log_directory / container.log_path).parent.mkdir(parents=True, exist_ok=True)
        return await _checked(
            self._client.create_container(
                sandbox_id, container_message(container, sandbox), self._sandbox_message(sandbox)
            )
        )

    async def start_container(self, container_id: str) -> None:
        await _checked(self._client.start_container(container_id))

    async def stop_container(self, container_id: str, grace_period_s: int) -> None:
        try:
            await self._client.stop_container(container_id, grace_period_s)
        except CriError as error:
            if not error.not_found:
                raise RuntimeFailure(error.text) from error

    async def remove_container(self, container_id: str) -> None:
        await _checked(self._client.remove_container(container_id))

    async def exec(self, container_id: str, command: Sequence[str], timeout_s: int) -> ExecResult:
        try:
            answer = await self._client.exec_sync(container_id, command, timeout_s)
        except CriError as error:
            if error.code == "DEADLINE_EXCEEDED" or "timeout" in error.text:
                raise TimeoutError(f"command timed out after {timeout_s} s") from error
            raise RuntimeFailure(error.text) from error
        return ExecResult(answer.exit_code, answer.stdout + answer.stderr)

    async def reopen_log(self, container_id: str) -> None:
        await _checked(self._client.reopen_container_log(container_id))

    async def find_image(self, reference: str) -> str | None:
        image = await _checked(self._client.image_status(reference))
        return None if image is None else image.id

    async def list_images(self) -> Sequence[ImageInfo]:
        images = await _checked(self._client.list_images())
        return [ImageInfo((*i.repo_tags, *i.repo_digests), i.size) for i in images]

    def _sandbox_message(self, config: SandboxConfig) -> api_pb2.PodSandboxConfig:
        return sandbox_message(config, self._layout.cgroup)


async def _checked(call: Awaitable[_Answer]) -> _Answer:
    try:
        return await call
    except CriError as error:
        raise RuntimeFailure(error.text) from error


def _sandbox_status(
    sandbox: api_pb2.PodSandbox | api_pb2.PodSandboxStatus,
    ip: str,
    containers: tuple[ContainerStatus, ...],
) -> SandboxStatus:
    return SandboxStatus(
        id=sandbox.id,
        uid=sandbox.metadata.uid,
        namespace=sandbox.metadata.namespace,
        name=sandbox.metadata.name,
        attempt=sandbox.metadata.attempt,
        ready=sandbox.state == api_pb2.SANDBOX_READY,
        created_at_ns=sandbox.created_at,
        ip=ip,
        containers=containers,
    )
