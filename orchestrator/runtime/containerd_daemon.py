"""A containerd of our own: started for one node, and taken away without a trace.

It has its own directories, sockets, CNI configuration, bridge and cgroup, so that it does not
meet a containerd that the machine may already run. `stop` removes sandboxes through CRI first;
then it clears what a crashed containerd or shim could have left: shims, processes in our cgroup,
mounts, the bridge, cgroups. Images stay for the next start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from orchestrator.cri.client import CriClient, CriError
from orchestrator.runtime import leftovers
from orchestrator.runtime.containerd_config import CNI_BINARY_DIRECTORIES, ContainerdLayout
from orchestrator.runtime.pod_network import IpForward, delete_bridge
from orchestrator.runtime.protocol import RuntimeFailure

log = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.02
IMAGE_NAMESPACE = "k8s.io"
"""The containerd namespace in which CRI keeps images and containers."""

_REQUIRED_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr", "runc")
_REQUIRED_PLUGINS = ("bridge", "host-local", "loopback")


def missing_requirements() -> list[str]:
    """Return what a private containerd lacks on this machine; empty where it can run."""
    missing = []
    if sys.platform != "linux" or os.geteuid() != 0:
        missing.append("root on Linux")
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    missing += [name for name in _REQUIRED_PROGRAMS if shutil.which(name, path=search) is None]
    if _cni_binaries() is None:
        missing.append("CNI plugins (package containernetworking-plugins)")
    return missing


def _cni_binaries() -> Path | None:
    for directory in CNI_BINARY_DIRECTORIES:
        if all((directory / name).exists() for name in _REQUIRED_PLUGINS):
            return directory
    return None


class ContainerdDaemon:
    """A private containerd with its data in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.layout = ContainerdLayout(directory)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start containerd and return once its CRI service answers.

        One that a crashed predecessor left running on the same directory is cleared first.
        Raises RuntimeFailure where something is missing or it does not come up in time; what had
        started is then gone again.
        """
        missing = missing_requirements()
        if missing:
            raise RuntimeFailure(f"containerd cannot run here; missing: {', '.join(missing)}")
        try:
            await self._launch()
            await self._wait_ready()
        except BaseException:
            await self.stop()
            raise

    async def _launch(self) -> None:
        layout = self.layout
        leftovers.clear(layout)
        for directory in (layout.directory, layout.run, layout.cni_conf, layout.cni_leases):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        binaries = _cni_binaries()
        assert binaries is not None, "missing_requirements has looked"
        layout.config.write_text(layout.toml(binaries))
        IpForward(layout.directory).enable()
        environment = dict(os.environ)
        environment["PATH"] = environment.get("PATH", "") + ":/usr/sbin:/sbin"
        with layout.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                "containerd",
                "--config",
                str(layout.config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                # A Ctrl-C at the terminal is for us; containerd goes after its containers.
                start_new_session=True,
            )

    async def _wait_ready(self) -> None:
        assert self._process is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await self._answers():
                    if self._process.returncode is not None:
                        raise RuntimeFailure(f"containerd ended: {self._log_tail()}")
                    await asyncio.sleep(POLL_INTERVAL_S)
        except TimeoutError:
            raise RuntimeFailure(f"containerd did not come up: {self._log_tail()}") from None

    async def _answers(self) -> bool:
        # A channel that found no socket backs off for a second; look for the socket first.
        if not self.layout.socket.is_socket():
            return False
        client = CriClient(str(self.layout.socket))
        try:
            await client.version(timeout_s=2.0)
        except CriError:
            return False
        else:
            return True
        finally:
            await client.close()

    def _log_tail(self) -> str:
        lines = self.layout.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "no output"

    async def import_images(self, archive: bytes) -> None:
        """Load an OCI archive into the namespace that CRI reads."""
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            file.write(archive)
            file.flush()
            await self._ctr("images", "import", file.name)

    async def _ctr(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            "ctr",
            "--address",
            str(self.layout.socket),
            "--namespace",
            IMAGE_NAMESPACE,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            text = output.decode(errors="replace").strip()
            raise RuntimeFailure(f"ctr {' '.join(arguments[:2])}: {text}")

    async def stop(self) -> None:
        """Remove every sandbox, stop containerd, and clear what is left. Idempotent."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            await self._remove_sandboxes()
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await asyncio.to_thread(self.clear)

    def clear(self) -> None:
        """Take away everything but images and logs; containerd must not be running."""
        leftovers.clear(self.layout)
        delete_bridge(self.layout.bridge)
        IpForward(self.layout.directory).restore()

    async def _remove_sandboxes(self) -> None:
        client = CriClient(str(self.layout.socket))
        try:
            sandboxes = await client.list_pod_sandbox()
            await asyncio.gather(*(_remove(client, sandbox.id) for sandbox in sandboxes))
        except CriError as error:
            log.warning("containerd did not remove its sandboxes: %s", error)
        finally:
            await client.close()


async def _remove(client: CriClient, sandbox_id: str) -> None:
    await client.stop_pod_sandbox(sandbox_id)
    await client.remove_pod_sandbox(sandbox_id)
