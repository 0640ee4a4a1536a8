"""A private containerd, for real: pods of our own images, and nothing left when it stops."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from orchestrator.images.busybox import (
    BUSYBOX_IMAGE,
    architecture,
    build_directory,
    busybox_image,
    pause_image,
)
from orchestrator.images.oci_archive import write_archive
from orchestrator.runtime import containerd_config, leftovers
from orchestrator.runtime.containerd import ContainerdRuntime
from orchestrator.runtime.containerd_config import SOCKET_PATH_BYTES_MAX, ContainerdLayout
from orchestrator.runtime.containerd_daemon import ContainerdDaemon, missing_requirements
from orchestrator.runtime.pod_network import IP_FORWARD, IP_FORWARD_USERS
from orchestrator.runtime.protocol import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    ImageMissing,
    ResourceConfig,
    RuntimeFailure,
    SandboxConfig,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.containerd,
    pytest.mark.skipif(bool(missing_requirements()), reason=", ".join(missing_requirements())),
]

HELLO = Path(__file__).resolve().parents[3] / "examples" / "hello-image"
TIMEOUT_S = 20.0


@pytest.fixture(scope="module")
def archive() -> bytes:
    hello = build_directory(HELLO, "localhost/hello:1")
    return write_archive([pause_image(), busybox_image(), hello], architecture())


def traces(layout: ContainerdLayout) -> list[str]:
    """Everything of this containerd that the machine can still show."""
    links = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()]
    return [
        *(f"process {pid}" for pid in leftovers.processes_of(layout)),
        *leftovers.mounts_below(layout.directory, layout.run),
        *map(str, leftovers.cgroups_of(layout)),
        *(link for link in links if link == layout.bridge),
        *(str(path) for path in (layout.run, layout.cni_leases) if path.exists()),
    ]


@pytest.fixture
def forwarding() -> Iterator[None]:
    """The machine's switch is as it was, unless another process of tests uses it meanwhile."""
    before, shared = IP_FORWARD.read_text(), any(IP_FORWARD_USERS.glob("*.user"))
    yield
    if not (shared or any(IP_FORWARD_USERS.glob("*.user"))):
        assert IP_FORWARD.read_text() == before


@pytest.fixture
async def daemon(
    tmp_path: Path, archive: bytes, forwarding: None
) -> AsyncIterator[ContainerdDaemon]:
    daemon = ContainerdDaemon(tmp_path / "containerd")
    await daemon.start()
    try:
        await daemon.import_images(archive)
        yield daemon
    finally:
        await daemon.stop()
    assert traces(daemon.layout) == []


async def network_up(runtime: ContainerdRuntime) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while await runtime.problem():
            await asyncio.sleep(0.02)


class Pod:
    """A sandbox and its containers in `runtime`."""

    def __init__(self, runtime: ContainerdRuntime, tmp_path: Path, name: str = "p") -> None:
        self.runtime = runtime
        self.config = SandboxConfig(f"uid-{name}", "default", name, 0, name, tmp_path / name)
        self.id = self.ip = ""

    async def run_sandbox(self) -> None:
        sandbox = await self.runtime.run_sandbox(self.config)
        self.id, self.ip = sandbox.id, sandbox.ip

    async def start(self, name: str, script: str, attempt: int = 0, **more: object) -> str:
        values = {"image": BUSYBOX_IMAGE, "command": ("sh", "-c", script), **more}
        config = ContainerConfig(name, attempt, log_path=f"{name}/{attempt}.log", **values)  # type: ignore[arg-type]
        id = await self.runtime.create_container(self.id, config, self.config)
        await self.runtime.start_container(id)
        return id

    async def wait_end(self, id: str) -> ContainerStatus:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                for pod in await self.runtime.list_pods():
                    for container in pod.containers:
                        if container.id == id and container.state is ContainerState.EXITED:
                            return container
                await asyncio.sleep(0.05)


@pytest.fixture
async def runtime(daemon: ContainerdDaemon) -> AsyncIterator[ContainerdRuntime]:
    runtime = ContainerdRuntime(daemon.layout)
    await runtime.configure("10.245.77.0/24")
    await network_up(runtime)
    yield runtime
    await runtime.close()


@pytest.mark.slow
async def test_pods_run_talk_log_end_and_go(runtime: ContainerdRuntime, tmp_path: Path) -> None:
    """One long story, because starting containerd is what costs."""
    pod = Pod(runtime, tmp_path)
    await pod.run_sandbox()
    assert pod.ip.startswith("10.245.77.")
    environment = (("POD_NAME", "p"), ("POD_IP", pod.ip))
    web = await pod.start("web", "", command=(), image="localhost/hello:1", environment=environment)
    other = Pod(runtime, tmp_path, "other")
    await other.run_sandbox()
    script = f"until wget -qO- http://{pod.ip}:8080/; do sleep 0.05; done; hostname; exit 3"
    status = await other.wait_end(await other.start("client", script))
    assert status.exit_code == 3
    log = (tmp_path / "other/client/0.log").read_text().splitlines()
    texts = [line.split(" ", 2)[2] for line in log if " stdout " in line]
    assert texts == ["F Hello from p, version 1", "F other"]
    async with aiohttp.ClientSession() as session, session.get(f"http://{pod.ip}:8080/") as page:
        assert await page.text() == "Hello from p, version 1\n"
    result = await runtime.exec(web, ["sh", "-c", "echo in; exit 4"], 5)
    assert (result.exit_code, result.output) == (4, b"in\n")
    with pytest.raises(TimeoutError):
        await runtime.exec(web, ["sleep", "100"], 1)
    await runtime.stop_container(web, 5)
    assert (await pod.wait_end(web)).exit_code == 0
    again = await pod.start("web", "exit 0", attempt=1)
    assert (await pod.wait_end(again)).attempt == 1
    await runtime.remove_container(web)
    for sandbox in await runtime.list_pods():
        await runtime.stop_sandbox(sandbox.id)
        await runtime.remove_sandbox(sandbox.id)
    assert not await runtime.list_pods()


@pytest.mark.slow
async def test_limits_and_absent_images(runtime: ContainerdRuntime, tmp_path: Path) -> None:
    pod = Pod(runtime, tmp_path)
    await pod.run_sandbox()
    limits = ResourceConfig(cpu_shares=512, memory_limit_bytes=32 << 20, oom_score_adjust=1000)
    greedy = "awk 'BEGIN { s = \"x\"; while (length(s) < 1e9) s = s s }'"
    status = await pod.wait_end(await pod.start("greedy", greedy, resources=limits))
    assert (status.exit_code, status.reason) == (137, "OOMKilled")
    with pytest.raises(ImageMissing):
        await pod.start("absent", "", image="localhost/absent:1")


@pytest.mark.slow
async def test_a_killed_containerd_leaves_nothing_either(
    tmp_path: Path, archive: bytes, forwarding: None
) -> None:
    daemon = ContainerdDaemon(tmp_path / "containerd")
    await daemon.start()
    await daemon.import_images(archive)
    runtime = ContainerdRuntime(daemon.layout)
    await runtime.configure("10.245.78.0/24")
    await network_up(runtime)
    pod = Pod(runtime, tmp_path)
    await pod.run_sandbox()
    await pod.start("c", "sleep 1000")
    await runtime.close()
    mains = [
        pid
        for pid in leftovers.processes_of(daemon.layout)
        if Path(f"/proc/{pid}/comm").read_text() == "containerd\n"
    ]
    assert len(mains) == 1
    os.kill(mains[0], signal.SIGKILL)
    await daemon.stop()
    assert traces(daemon.layout) == []
    assert not list(leftovers.CNI_RESULTS.glob(f"*{pod.id}*"))


async def test_a_long_path_moves_the_sockets_only(tmp_path: Path) -> None:
    layout = ContainerdLayout(tmp_path / ("x" * 100))
    assert layout.run.parent == Path("/run")
    assert layout.root.is_relative_to(tmp_path)


@pytest.mark.slow
async def test_the_longest_near_path_starts_and_one_more_byte_moves(
    tmp_path: Path, forwarding: None
) -> None:
    """containerd itself says where the bound is: both sides of it have to start."""
    near = len(str(tmp_path / "run/containerd.sock.ttrpc")) + 1
    longest = tmp_path / ("x" * (SOCKET_PATH_BYTES_MAX - near))
    for directory, is_near in ((longest, True), (Path(f"{longest}x"), False)):
        daemon = ContainerdDaemon(directory)
        assert daemon.layout.run.is_relative_to(tmp_path) is is_near
        await daemon.start()
        await daemon.stop()
        assert traces(daemon.layout) == []


@pytest.mark.slow
async def test_one_that_does_not_start_leaves_nothing(
    tmp_path: Path, forwarding: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containerd_config, "SOCKET_PATH_BYTES_MAX", 4096)
    daemon = ContainerdDaemon(tmp_path / ("x" * 100))
    with pytest.raises(RuntimeFailure, match="socket path too long"):
        await daemon.start()
    assert traces(daemon.layout) == []
    assert not any(
        str(daemon.layout.directory) in user.read_text() for user in IP_FORWARD_USERS.glob("*.user")
    )
