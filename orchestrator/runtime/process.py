"""Run containers as plain child processes: no root, no containerd, and little isolation.

What a container has of its own: a copy of its image's files, which is its working directory and
the head of its PATH (also in `$CONTAINER_ROOT`); its environment; a session and process group;
resource limits of the kernel; its log; and its pod's address, one of 127.0.0.0/8 out of the
node's pod CIDR, to which its programs must bind (`status.podIP` through the downward API).

What it shares with the machine, and so with every other container (`NOT_ISOLATED`): files, users,
processes, network and hostname. Absolute paths are the machine's; volumes appear as symbolic
links below `$CONTAINER_ROOT`. Security settings, CPU limits and host ports have no effect.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from orchestrator.images.image import DEFAULT_PATH
from orchestrator.images.image_store import ImageStore, StoredImage
from orchestrator.runtime.address_pool import AddressPool
from orchestrator.runtime.log_writer import LogWriter
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

NOT_ISOLATED = (
    "containers are processes of this user: they share its files, network, users and process table"
)

LOG_DRAIN_TIMEOUT_S = 1.0
"""How long an ended container's log may take; a grandchild may hold the pipe open."""

KILL_TIMEOUT_S = 5.0
EXIT_CODE_START_FAILED = 128


@dataclass(slots=True)
class _Container:
    config: ContainerConfig
    sandbox: SandboxConfig
    image: StoredImage
    root: Path
    status: ContainerStatus
    process: asyncio.subprocess.Process | None = None
    watcher: asyncio.Task[None] | None = None
    log: LogWriter | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ProcessRuntime:
    """Runs pods below `directory` with images of `images`.

    Children end with this process only if `close` is called; the kernel also kills them if this
    process dies (PR_SET_PDEATHSIG).
    """

    name = "process"
    runs_programs = True

    def __init__(self, directory: Path, images: ImageStore) -> None:
        self._directory = directory
        # What an earlier process left are files without processes.
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, mode=0o700)
        self._images = images
        self._addresses = AddressPool()
        self._sandboxes: dict[str, SandboxStatus] = {}
        self._containers: dict[str, _Container] = {}
        self._ids = itertools.count(1)
        self._changed = asyncio.Event()

    async def close(self) -> None:
        """Kill everything and remove the files."""
        for sandbox_id in list(self._sandboxes):
            await self.remove_sandbox(sandbox_id)
        shutil.rmtree(self._directory, ignore_errors=True)

    async def version(self) -> str:
        return "1"

    async def problem(self) -> str:
        return "" if self._addresses.known else "NetworkReady: the node has no pod CIDR yet"

    async def configure(self, pod_cidr: str) -> None:
        try:
            self._addresses.set_range(pod_cidr)
        except ValueError as error:
            raise RuntimeFailure(str(error)) from error

    async def list_pods(self) -> Sequence[SandboxStatus]:
        by_sandbox: dict[str, list[ContainerStatus]] = {id: [] for id in self._sandboxes}
        for container in self._containers.values():
            by_sandbox[container.status.sandbox_id].append(container.status)
        return [
            replace(sandbox, containers=tuple(by_sandbox[id]))
            for id, sandbox in self._sandboxes.items()
        ]

    async def wait_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def run_sandbox(self, config: SandboxConfig) -> SandboxStatus:
        if config.host_network:
            ip = ""
        else:
            ip = self._addresses.take()
        sandbox = SandboxStatus(
            id=self._new_id(),
            uid=config.uid,
            namespace=config.namespace,
            name=config.name,
            attempt=config.attempt,
            ready=True,
            created_at_ns=time.time_ns(),
            ip=ip,
        )
        self._sandboxes[sandbox.id] = sandbox
        self._changed.set()
        return sandbox

    async def stop_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.ready:
            return
        await asyncio.gather(*(self.stop_container(c.status.id, 0) for c in self._in(sandbox_id)))
        self._sandboxes[sandbox_id] = replace(sandbox, ready=False)
        self._addresses.give_back(sandbox.ip)
        self._changed.set()

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        for container in self._in(sandbox_id):
            await self.remove_container(container.status.id)
        self._sandboxes.pop(sandbox_id, None)
        self._changed.set()

    def _in(self, sandbox_id: str) -> list[_Container]:
        return [c for c in self._containers.values() if c.status.sandbox_id == sandbox_id]

    async def create_container(
        self, sandbox_id: str, container: ContainerConfig, sandbox: SandboxConfig
    ) -> str:
        image = self._images.find(container.image)
        if image is None:
            raise ImageMissing(container.image)
        id = self._new_id()
        root = self._directory / id
        await asyncio.to_thread(_make_root, root, image, container)
        status = ContainerStatus(
            id=id,
            sandbox_id=sandbox_id,
            name=container.name,
            attempt=container.attempt,
            state=ContainerState.CREATED,
            created_at_ns=time.time_ns(),
            image=container.image,
            image_ref=image.digest,
            annotations=container.annotations,
        )
        self._containers[id] = _Container(container, sandbox, image, root, status)
        return id

    async def start_container(self, container_id: str) -> None:
        container = self._find(container_id)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        try:
            container.process = await self._spawn(container, out_write, err_write)
        except (OSError, ValueError) as error:
            os.close(out_read)
            os.close(err_read)
            text = f"failed to start container: {error}"
            self._end(container, EXIT_CODE_START_FAILED, "StartError", text)
            raise RuntimeFailure(text) from error
        finally:
            os.close(out_write)
            os.close(err_write)
        container.log = LogWriter(
            container.sandbox.log_directory / container.config.log_path, out_read, err_read
        )
        container.status = replace(
            container.status, state=ContainerState.RUNNING, started_at_ns=time.time_ns()
        )
        container.watcher = asyncio.create_task(self._watch(container, container.log))
        self._changed.set()

    async def _spawn(
        self, container: _Container, stdout: int, stderr: int
    ) -> asyncio.subprocess.Process:
        command = _command(container.config, container.image, container.root)
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(f'exec: "{command[0]}": executable file not found')
        return await asyncio.create_subprocess_exec(
            *_launcher(container.config.resources.memory_limit_bytes),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=_working_directory(container.config, container.image, container.root),
            env=_environment(container.config, container.image, container.root),
            start_new_session=True,
        )

    async def _watch(self, container: _Container, log: LogWriter) -> None:
        process = container.process
        assert process is not None, "a container is watched once it has a process"
        code = await process.wait()
        # What the main process started goes with it, as in a PID namespace.
        _signal_group(process.pid, signal.SIGKILL)
        await asyncio.to_thread(log.join, LOG_DRAIN_TIMEOUT_S)
        self._end(container, code if code >= 0 else 128 - code)

    def _end(
        self, container: _Container, exit_code: int, reason: str = "", message: str = ""
    ) -> None:
        now = time.time_ns()
        container.status = replace(
            container.status,
            state=ContainerState.EXITED,
            started_at_ns=container.status.started_at_ns or now,
            finished_at_ns=now,
            exit_code=exit_code,
            reason=reason,
            message=message,
        )
        container.ended.set()
        self._changed.set()

    async def stop_container(self, container_id: str, grace_period_s: int) -> None:
        container = self._containers.get(container_id)
        if container is None or container.status.state is not ContainerState.RUNNING:
            return
        assert container.process is not None, "a running container has a process"
        pid = container.process.pid
        if grace_period_s > 0:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_period_s):
                    await container.ended.wait()
        if not container.ended.is_set():
            _signal_group(pid, signal.SIGKILL)
            try:
                async with asyncio.timeout(KILL_TIMEOUT_S):
                    await container.ended.wait()
            except TimeoutError:
                raise RuntimeFailure(f"process {pid} does not die") from None

    async def remove_container(self, container_id: str) -> None:
        await self.stop_container(container_id, 0)
        container = self._containers.pop(container_id, None)
        if container is not None:
            if container.watcher is not None:
                await container.watcher
            await asyncio.to_thread(shutil.rmtree, container.root, True)
            self._changed.set()

    async def exec(self, container_id: str, command: Sequence[str], timeout_s: int) -> ExecResult:
        container = self._find(container_id)
        if container.status.state is not ContainerState.RUNNING:
            raise RuntimeFailure("the container is not running")
        try:
            process = await asyncio.create_subprocess_exec(
                *_resolved(command, container.config, container.image, container.root),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=_working_directory(container.config, container.image, container.root),
                env=_environment(container.config, container.image, container.root),
                start_new_session=True,
            )
        except OSError as error:
            raise RuntimeFailure(f"failed to exec {command[0]!r}: {error}") from error
        try:
            async with asyncio.timeout(timeout_s or None):
                output, _ = await process.communicate()
        except BaseException:
            _signal_group(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        code = process.returncode or 0
        return ExecResult(code if code >= 0 else 128 - code, output)

    async def reopen_log(self, container_id: str) -> None:
        log = self._find(container_id).log
        if log is not None:
            await asyncio.to_thread(log.reopen)

    async def find_image(self, reference: str) -> str | None:
        image = self._images.find(reference)
        return None if image is None else image.digest

    async def list_images(self) -> Sequence[ImageInfo]:
        return [ImageInfo(i.references, i.size_bytes) for i in self._images.list_images()]

    def _find(self, container_id: str) -> _Container:
        container = self._containers.get(container_id)
        if container is None:
            raise RuntimeFailure(f"container {container_id} is gone")
        return container

    def _new_id(self) -> str:
        return f"{time.time_ns():x}{next(self._ids):08x}"


def _make_root(root: Path, image: StoredImage, config: ContainerConfig) -> None:
    """Copy the image's files and link the volumes into them."""
    shutil.copytree(image.rootfs, root, symlinks=True)
    for mount in sorted(config.mounts, key=lambda m: len(m.container_path)):
        link = _below(root, mount.container_path)
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        else:
            link.unlink(missing_ok=True)
        link.symlink_to(mount.host_path)


def _below(root: Path, path: str) -> Path:
    """Return an absolute path of the container as a path of the machine."""
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..", ".")]
    return root.joinpath(*parts)


def _environment(config: ContainerConfig, image: StoredImage, root: Path) -> dict[str, str]:
    given = dict(entry.partition("=")[::2] for entry in image.environment)
    given |= dict(config.environment)
    inside = [str(_below(root, part)) for part in given.get("PATH", DEFAULT_PATH).split(":")]
    given["PATH"] = ":".join([*inside, os.environ.get("PATH", DEFAULT_PATH)])
    given["CONTAINER_ROOT"] = str(root)
    given.setdefault("HOME", str(root))
    return given


def _working_directory(config: ContainerConfig, image: StoredImage, root: Path) -> Path:
    path = _below(root, config.working_directory or image.working_directory)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _command(config: ContainerConfig, image: StoredImage, root: Path) -> list[str]:
    """Return the argument vector as Kubernetes merges it with the image's."""
    if config.command:
        words = [*config.command, *config.arguments]
    else:
        words = [*image.entrypoint, *(config.arguments or image.command)]
    if not words:
        raise ValueError("no command specified")
    return _resolved(words, config, image, root)


def _resolved(
    words: Sequence[str], config: ContainerConfig, image: StoredImage, root: Path
) -> list[str]:
    """Find the program in the container's files first, then on the machine."""
    program = words[0]
    if "/" in program:
        inside = _below(root, program)
        found = str(inside) if program.startswith("/") and inside.exists() else program
    else:
        found = shutil.which(program, path=_environment(config, image, root)["PATH"]) or program
    return [found, *words[1:]]


def _launcher(memory_limit_bytes: int) -> list[str]:
    """Return the words before the program that set its limits and tie its life to ours.

    util-linux's programs do it, because code run between fork and exec is not safe in a process
    with threads. Without them, the limit does not hold and a killed parent leaves its children.
    """
    words = []
    if memory_limit_bytes and (prlimit := shutil.which("prlimit")):
        words += [prlimit, f"--data={memory_limit_bytes}:{memory_limit_bytes}", "--"]
    if setpriv := shutil.which("setpriv"):
        words += [setpriv, "--pdeathsig", "KILL", "--"]
    return words


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
