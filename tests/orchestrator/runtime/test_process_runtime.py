"""The process runtime, for real: programs of an image as children of this process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.images.busybox import BUSYBOX_IMAGE, architecture, busybox_image
from orchestrator.images.image_store import ImageStore
from orchestrator.images.oci_archive import write_archive
from orchestrator.kubelet.log_rotation import LOG_FILES_MAX, rotate_logs
from orchestrator.runtime.address_pool import AddressPool
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    ImageMissing,
    MountConfig,
    ResourceConfig,
    RuntimeFailure,
    SandboxConfig,
)

TIMEOUT_S = 10.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    store = ImageStore(tmp_path_factory.mktemp("images"))
    store.load_archive(write_archive([busybox_image()], architecture()))
    return store


@pytest.fixture
async def runtime(tmp_path: Path, images: ImageStore) -> AsyncIterator[ProcessRuntime]:
    runtime = ProcessRuntime(tmp_path / "containers", images)
    await runtime.configure("127.64.1.0/24")
    yield runtime
    await runtime.close()
    assert not (tmp_path / "containers").exists()


def sandbox_of(tmp_path: Path) -> SandboxConfig:
    return SandboxConfig("u", "default", "p", 0, "p", tmp_path / "logs")


class Pod:
    """One sandbox with containers that run shell commands."""

    def __init__(self, runtime: ProcessRuntime, tmp_path: Path) -> None:
        self.runtime = runtime
        self.config = sandbox_of(tmp_path)
        self.id = ""

    async def start(self, script: str, **more: object) -> str:
        if not self.id:
            self.id = (await self.runtime.run_sandbox(self.config)).id
        values = {"command": ("sh", "-c", script), **more}
        config = ContainerConfig("c", 0, BUSYBOX_IMAGE, "c/0.log", **values)  # type: ignore[arg-type]
        id = await self.runtime.create_container(self.id, config, self.config)
        await self.runtime.start_container(id)
        return id

    async def status(self, id: str) -> ContainerStatus:
        (pod,) = await self.runtime.list_pods()
        return next(c for c in pod.containers if c.id == id)

    async def wait(
        self, id: str, until: Callable[[ContainerStatus], bool] = lambda c: c.finished_at_ns > 0
    ) -> ContainerStatus:
        async with asyncio.timeout(TIMEOUT_S):
            while not until(status := await self.status(id)):
                await self.runtime.wait_change()
        return status

    def log(self) -> str:
        return (self.config.log_directory / "c/0.log").read_text()


@pytest.fixture
def pod(runtime: ProcessRuntime, tmp_path: Path) -> Pod:
    return Pod(runtime, tmp_path)


async def test_output_and_exit_code_are_kept(pod: Pod) -> None:
    status = await pod.wait(await pod.start("echo out; echo err >&2; exit 7"))
    assert (status.state, status.exit_code) == (ContainerState.EXITED, 7)
    assert status.finished_at_ns >= status.started_at_ns > 0
    lines = {tuple(line.split(" ", 1)[1:]) for line in pod.log().splitlines()}
    assert lines == {("stdout F out",), ("stderr F err",)}


async def test_environment_directory_and_path_are_the_containers(pod: Pod, tmp_path: Path) -> None:
    script = "pwd; echo ${PATH##*$CONTAINER_ROOT}; echo $X; ls $CONTAINER_ROOT/data"
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "file").touch()
    mount = MountConfig("/data", str(tmp_path / "volume"))
    status = await pod.wait(await pod.start(script, environment=(("X", "y"),), mounts=(mount,)))
    assert status.exit_code == 0, pod.log()
    root = str(tmp_path / "containers" / status.id)
    texts = [line.split(" ", 3)[3] for line in pod.log().splitlines()]
    assert texts == [root, f"/bin:{os.environ['PATH']}", "y", "file"]


async def test_a_rotated_log_goes_on_and_stays_bounded(pod: Pod) -> None:
    id = await pod.start("n=0; while :; do echo line $((n+=1)); sleep 0.01; done")
    path = pod.config.log_directory / "c/0.log"
    for turn in range(LOG_FILES_MAX + 2):
        await until(lambda: "line" in pod.log())
        at = datetime(2026, 1, 1, 0, 0, turn, tzinfo=UTC)
        await rotate_logs(pod.runtime, [(id, path)], at, size_bytes_max=1)
    assert len(list(path.parent.iterdir())) == LOG_FILES_MAX
    await until(lambda: "line" in pod.log())


async def test_what_a_container_writes_stays_its_own(pod: Pod) -> None:
    await pod.wait(await pod.start("echo mine > file"))
    status = await pod.wait(await pod.start("cat file"))
    assert status.exit_code == 1


async def test_stopping_asks_then_kills_the_whole_group(pod: Pod) -> None:
    polite = await pod.start('trap "exit 3" TERM; echo up; while :; do sleep 0.05; done')
    await until(lambda: "up" in pod.log())
    await pod.runtime.stop_container(polite, 5)
    assert (await pod.status(polite)).exit_code == 3
    stubborn = await pod.start('trap "" TERM; sleep 1000 & echo $! > pid; echo deaf; wait')
    await until(lambda: "deaf" in pod.log())
    await pod.runtime.stop_container(stubborn, 1)
    assert (await pod.status(stubborn)).exit_code == 137
    root = pod.config.log_directory.parent / "containers" / stubborn
    child = int((root / "pid").read_text())
    await until(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


async def test_a_program_that_is_not_there_fails_to_start(pod: Pod) -> None:
    with pytest.raises(RuntimeFailure, match="executable file not found"):
        await pod.start("", command=("/no/such",))
    (listed,) = await pod.runtime.list_pods()
    (status,) = listed.containers
    assert (status.exit_code, status.reason) == (128, "StartError")


async def test_an_absent_image_is_named(pod: Pod) -> None:
    sandbox = await pod.runtime.run_sandbox(pod.config)
    config = ContainerConfig("c", 0, "localhost/absent:1", "c/0.log")
    with pytest.raises(ImageMissing, match="localhost/absent:1"):
        await pod.runtime.create_container(sandbox.id, config, pod.config)


async def test_exec_runs_beside_and_times_out(pod: Pod) -> None:
    id = await pod.start("echo here > mark; sleep 1000")
    async with asyncio.timeout(TIMEOUT_S):
        while (await pod.runtime.exec(id, ["cat", "mark"], 5)).exit_code:
            pass
    result = await pod.runtime.exec(id, ["sh", "-c", "cat mark; exit 4"], 5)
    assert (result.exit_code, result.output) == (4, b"here\n")
    with pytest.raises(TimeoutError):
        await pod.runtime.exec(id, ["sleep", "1000"], 1)
    with pytest.raises(RuntimeFailure, match="failed to exec"):
        await pod.runtime.exec(id, ["/no/such"], 5)


async def test_a_memory_limit_holds(pod: Pod) -> None:
    limit = ResourceConfig(memory_limit_bytes=16 << 20)
    greedy = "awk 'BEGIN { s = \"x\"; while (length(s) < 1e9) s = s s }'"
    status = await pod.wait(await pod.start(greedy, resources=limit))
    assert status.exit_code != 0


async def test_a_stopped_sandbox_gives_its_address_back(pod: Pod) -> None:
    id = await pod.start("sleep 1000")
    (before,) = await pod.runtime.list_pods()
    assert before.ip == "127.64.1.2"
    await pod.runtime.stop_sandbox(pod.id)
    (after,) = await pod.runtime.list_pods()
    assert not after.ready
    assert (await pod.status(id)).exit_code == 137
    await pod.runtime.remove_sandbox(pod.id)
    assert not await pod.runtime.list_pods()


def test_addresses_run_out_and_come_back() -> None:
    pool = AddressPool()
    with pytest.raises(RuntimeFailure, match="pod CIDR"):
        pool.take()
    pool.set_range("127.64.9.0/29")
    taken = [pool.take() for _ in range(5)]
    assert taken == [f"127.64.9.{n}" for n in range(2, 7)]
    with pytest.raises(RuntimeFailure):
        pool.take()
    pool.give_back("127.64.9.4")
    pool.give_back("10.0.0.1")
    assert pool.take() == "127.64.9.4"


async def test_children_die_with_their_parent(tmp_path: Path, images: ImageStore) -> None:
    """A killed parent leaves nobody behind: the kernel sends the children SIGKILL."""
    script = f"""
import asyncio
from pathlib import Path
from orchestrator.images.image_store import ImageStore
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import ContainerConfig, SandboxConfig
async def main():
    images = ImageStore(Path({str(images.directory)!r}))
    runtime = ProcessRuntime(Path({str(tmp_path)!r}) / "c", images)
    await runtime.configure("127.64.2.0/24")
    config = SandboxConfig("u", "d", "p", 0, "p", Path({str(tmp_path)!r}) / "logs")
    sandbox = await runtime.run_sandbox(config)
    command = ("sh", "-c", "echo $$; exec sleep 1000")
    c = ContainerConfig("c", 0, {BUSYBOX_IMAGE!r}, "c/0.log", command=command)
    await runtime.start_container(await runtime.create_container(sandbox.id, c, config))
    await asyncio.sleep(1000)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=Path(__file__).parents[3]
    )
    log = tmp_path / "logs" / "c" / "0.log"
    await until(lambda: log.exists() and log.read_text().endswith("\n"))
    child = int(log.read_text().split()[-1])
    assert _alive(child)
    os.kill(parent.pid, 9)
    await parent.wait()
    await until(lambda: not _alive(child))
