"""Pretend to run pods: states and addresses without processes, for tests and scale.

Time is an argument: `clock` gives nanoseconds since the epoch, `sleep` waits in the same time.
A container runs `start_delay_s` after its start and ends only when it is stopped, or by `end`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from orchestrator.runtime.address_pool import AddressPool
from orchestrator.runtime.protocol import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    ExecResult,
    ImageInfo,
    RuntimeFailure,
    SandboxConfig,
    SandboxStatus,
)


class HollowRuntime:
    """A runtime of one node that only keeps books; addresses come from the pod CIDR in turn."""

    name = "hollow"
    runs_programs = False

    def __init__(
        self,
        start_delay_s: float = 0.0,
        clock_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._start_delay_s = start_delay_s
        self._clock_ns = clock_ns
        self._sleep = sleep
        self._sandboxes: dict[str, SandboxStatus] = {}
        self._addresses = AddressPool()
        self._count = 0
        self._changed = asyncio.Event()

    async def version(self) -> str:
        return "1"

    async def problem(self) -> str:
        return ""

    async def configure(self, pod_cidr: str) -> None:
        self._addresses.set_range(pod_cidr)

    async def list_pods(self) -> Sequence[SandboxStatus]:
        return list(self._sandboxes.values())

    async def wait_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def run_sandbox(self, config: SandboxConfig) -> SandboxStatus:
        sandbox = SandboxStatus(
            id=self._new_id(),
            uid=config.uid,
            namespace=config.namespace,
            name=config.name,
            attempt=config.attempt,
            ready=True,
            created_at_ns=self._clock_ns(),
            ip="" if config.host_network else self._addresses.take(),
        )
        self._put(sandbox)
        return sandbox

    async def stop_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.ready:
            return
        for container in sandbox.containers:
            self.end(container.id, 137)
        stopped = self._sandboxes[sandbox_id]
        self._addresses.give_back(stopped.ip)
        self._put(replace(stopped, ready=False))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        self._sandboxes.pop(sandbox_id, None)
        self._changed.set()

    async def create_container(
        self, sandbox_id: str, container: ContainerConfig, sandbox: SandboxConfig
    ) -> str:
        found = self._sandboxes.get(sandbox_id)
        if found is None:
            raise RuntimeFailure(f"sandbox {sandbox_id} is gone")
        status = ContainerStatus(
            id=self._new_id(),
            sandbox_id=sandbox_id,
            name=container.name,
            attempt=container.attempt,
            state=ContainerState.CREATED,
            created_at_ns=self._clock_ns(),
            image=container.image,
            image_ref=container.image,
            annotations=container.annotations,
        )
        self._put(replace(found, containers=(*found.containers, status)))
        return status.id

    async def start_container(self, container_id: str) -> None:
        if self._start_delay_s:
            await self._sleep(self._start_delay_s)
        now = self._clock_ns()
        self._change(container_id, state=ContainerState.RUNNING, started_at_ns=now)

    async def stop_container(self, container_id: str, grace_period_s: int) -> None:
        self.end(container_id, 0)

    def end(self, container_id: str, exit_code: int) -> None:
        """Let a running container end; others stay as they are."""
        container = self._find(container_id)
        if container is not None and container.state is ContainerState.RUNNING:
            now = self._clock_ns()
            ended = {"state": ContainerState.EXITED, "finished_at_ns": now, "exit_code": exit_code}
            self._change(container_id, **ended)

    async def remove_container(self, container_id: str) -> None:
        container = self._find(container_id)
        if container is not None:
            sandbox = self._sandboxes[container.sandbox_id]
            kept = tuple(c for c in sandbox.containers if c.id != container_id)
            self._put(replace(sandbox, containers=kept))

    async def exec(self, container_id: str, command: Sequence[str], timeout_s: int) -> ExecResult:
        raise RuntimeFailure("hollow containers run no programs")

    async def reopen_log(self, container_id: str) -> None:
        return

    async def find_image(self, reference: str) -> str | None:
        return reference

    async def list_images(self) -> Sequence[ImageInfo]:
        return []

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._count:012x}"

    def _put(self, sandbox: SandboxStatus) -> None:
        self._sandboxes[sandbox.id] = sandbox
        self._changed.set()

    def _find(self, container_id: str) -> ContainerStatus | None:
        for sandbox in self._sandboxes.values():
            for container in sandbox.containers:
                if container.id == container_id:
                    return container
        return None

    def _change(self, container_id: str, **changes: object) -> None:
        container = self._find(container_id)
        if container is None:
            return
        sandbox = self._sandboxes[container.sandbox_id]
        changed = replace(container, **changes)  # type: ignore[arg-type]
        containers = tuple(changed if c is container else c for c in sandbox.containers)
        self._put(replace(sandbox, containers=containers))
