"""Clusters of real `raftkv` processes, for tests that start, kill and restart members.

    with ProcessCluster(3, tmp_path) as cluster:
        cluster.wait_ready()
        cluster.kill(0)
        cluster.start(0)

Output of each member goes to `<directory>/<name>.log`.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from raftkv.testing.ports import free_port

__all__ = ["ClusterNotReady", "ProcessCluster", "free_port"]

POLL_S = 0.02
STOP_TIMEOUT_S = 10.0


class ClusterNotReady(Exception):
    """A member did not serve in time, or ended; the text has the end of its log."""


class ProcessCluster:
    """Members m0, m1, ... that know each other. Used as a context manager it starts all of them."""

    def __init__(self, members: int, directory: Path, flags: Sequence[str] = ()) -> None:
        self.directory = directory
        self.flags = tuple(flags)
        self.names = [f"m{number}" for number in range(members)]
        self.hosts = ["127.0.0.1"] * members
        self.client_ports = [free_port() for _ in self.names]
        self.peer_ports = [free_port() for _ in self.names]
        self.joining: set[int] = set()
        """Members that were added to the running cluster, and find it instead of founding it."""
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * members

    def __enter__(self) -> "ProcessCluster":
        for member in range(len(self.names)):
            self.start(member)
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
        """host:port of every member's client port."""
        return [f"{host}:{port}" for host, port in zip(self.hosts, self.client_ports, strict=True)]

    def arguments(self, member: int) -> list[str]:
        """Return the command line of a member."""
        client = f"http://{self.hosts[member]}:{self.client_ports[member]}"
        peers = [
            f"http://{host}:{port}" for host, port in zip(self.hosts, self.peer_ports, strict=True)
        ]
        return [
            *self.program(member),
            f"--name={self.names[member]}",
            f"--data-dir={self.directory / self.names[member]}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peers[member]}",
            f"--initial-advertise-peer-urls={peers[member]}",
            "--initial-cluster="
            + ",".join(f"{name}={url}" for name, url in zip(self.names, peers, strict=True)),
            *(["--initial-cluster-state=existing"] if member in self.joining else []),
            *self.flags,
        ]

    def program(self, member: int) -> list[str]:
        """Return how a member is started, before its flags."""
        return [sys.executable, "-m", "raftkv"]

    def log_path(self, member: int) -> Path:
        """Where a member's output goes."""
        return self.directory / f"{self.names[member]}.log"

    def start(self, member: int) -> None:
        """Start a member that does not run; returns before it serves."""
        assert self._processes[member] is None, "the member runs already"
        with self.log_path(member).open("ab") as output:
            self._processes[member] = subprocess.Popen(
                self.arguments(member),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONWARNINGS": "error"},
            )

    def pid(self, member: int) -> int:
        """Return the process id of a running member."""
        process = self._processes[member]
        assert process is not None, "the member does not run"
        return process.pid

    def kill(self, member: int) -> None:
        """End a member with SIGKILL, as a crash would."""
        self._end(member, signal.SIGKILL)

    def pause(self, member: int) -> None:
        """Stop a member's clock and everything else of it, its connections staying open."""
        os.kill(self.pid(member), signal.SIGSTOP)

    def resume(self, member: int) -> None:
        """Let a paused member go on."""
        os.kill(self.pid(member), signal.SIGCONT)

    def terminate(self, member: int) -> int:
        """Ask a member to stop and return its exit code."""
        return self._end(member, signal.SIGTERM)

    def runs(self, member: int) -> bool:
        """Tell whether a member's process was started and has not ended."""
        process = self._processes[member]
        return process is not None and process.poll() is None

    def wait(self, member: int, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for a member to end by itself and return its exit code."""
        process = self._processes[member]
        assert process is not None, "the member does not run"
        code = process.wait(timeout_s)
        self._processes[member] = None
        return code

    def _end(self, member: int, number: signal.Signals) -> int:
        process = self._processes[member]
        assert process is not None, "the member does not run"
        process.send_signal(number)
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        self._processes[member] = None
        return code

    def stop(self) -> None:
        """Stop every member that runs, all at once."""
        running = [number for number, process in enumerate(self._processes) if process]
        for number in running:
            process = self._processes[number]
            if process is not None:
                process.terminate()
        for number in running:
            self._end(number, signal.SIGTERM)

    def wait_ready(self, members: Sequence[int] | None = None, timeout_s: float = 20.0) -> None:
        """Return once each of `members` (default: all that run) serves linearizable reads.

        Raises ClusterNotReady.
        """
        deadline = time.monotonic() + timeout_s
        running = [number for number, process in enumerate(self._processes) if process]
        for member in running if members is None else members:
            while not self.is_healthy(member):
                process = self._processes[member]
                if process is None or process.poll() is not None:
                    raise ClusterNotReady(f"member {member} ended:\n{self.log_tail(member)}")
                if time.monotonic() > deadline:
                    raise ClusterNotReady(f"member {member} is late:\n{self.log_tail(member)}")
                time.sleep(POLL_S)

    def is_healthy(self, member: int) -> bool:
        """Ask a member's /health."""
        try:
            self.http(member, "/health")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def http(self, member: int, path: str, timeout_s: float = 2.0) -> str:
        """GET a path of a member and return the body. Raises OSError and HTTPError."""
        url = f"http://{self.endpoints[member]}{path}"
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            body: bytes = response.read()
            return body.decode()

    def leader(self, timeout_s: float = 10.0) -> int:
        """Return which member leads, waiting for one. Raises ClusterNotReady."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for member, process in enumerate(self._processes):
                if process is not None and self._says_it_leads(member):
                    return member
            time.sleep(POLL_S)
        raise ClusterNotReady("nobody leads")

    def _says_it_leads(self, member: int) -> bool:
        try:
            return "\netcd_server_is_leader 1.0" in self.http(member, "/metrics")
        except (OSError, urllib.error.URLError):
            return False

    def log_tail(self, member: int, size: int = 3000) -> str:
        """Return the end of a member's output."""
        return self.log_path(member).read_text(errors="replace")[-size:]
