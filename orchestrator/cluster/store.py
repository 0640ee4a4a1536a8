"""The raftkv members behind a local cluster: child processes, each with a directory and a log."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.cluster.ports import choose_port
from orchestrator.cluster.record import ProcessId
from raftkv.client import Client, ClientError

CLIENT_PORT_FIRST = 2379
PEER_PORT_FIRST = 2380
PORT_STEP = 10
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0

FOREIGN_TIMEOUT_S = 10.0
FOREIGN_POLL_S = 0.1
"""For a store that somebody else has started, which should be there already."""

LOOPBACK = "127.0.0.1"


class StoreError(Exception):
    """The store did not come up; the message names the log to read."""


async def wait_for_store(endpoints: Sequence[str]) -> None:
    """Return once one of the endpoints of a store that is not ours has a leader.

    Raises StoreError after `FOREIGN_TIMEOUT_S`.
    """
    reason = "they have no leader"
    async with Client(endpoints, timeout_s=1.0) as client:
        deadline = time.monotonic() + FOREIGN_TIMEOUT_S
        while time.monotonic() < deadline:
            for at in range(len(endpoints)):
                try:
                    if (await client.status(at)).leader:
                        return
                except ClientError as error:
                    reason = error.message
            await asyncio.sleep(FOREIGN_POLL_S)
    raise StoreError(
        f"no store answers at {', '.join(endpoints)} ({reason}); is it running? "
        "Without --etcd-servers a store is started for you"
    )


class StoreProcesses:
    """Starts `count` members, waits until each serves, and stops them by pid."""

    def __init__(self, data_dir: Path, count: int) -> None:
        self.data_dir = data_dir
        self.count = count
        self.endpoints: list[str] = []
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self) -> None:
        """Start all members. Raises StoreError when one ends or none leads in time."""
        ports = [
            (
                choose_port(LOOPBACK, CLIENT_PORT_FIRST + PORT_STEP * i),
                choose_port(LOOPBACK, PEER_PORT_FIRST + PORT_STEP * i),
            )
            for i in range(self.count)
        ]
        ports = self._remembered(ports)
        initial_cluster = ",".join(
            f"m{i + 1}=http://{LOOPBACK}:{peer}" for i, (_, peer) in enumerate(ports)
        )
        for i, (client_port, peer_port) in enumerate(ports):
            await self._start_member(f"m{i + 1}", client_port, peer_port, initial_cluster)
        self.endpoints = [f"http://{LOOPBACK}:{client}" for client, _ in ports]
        await self._wait_until_serving()

    def _remembered(self, ports: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Keep the ports of an earlier start: peer addresses are part of a member's identity."""
        path = self.data_dir / "ports"
        if path.exists():
            lines = path.read_text().splitlines()
            return [(int(client), int(peer)) for client, peer in map(str.split, lines)]
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text("".join(f"{client} {peer}\n" for client, peer in ports))
        return ports

    async def _start_member(
        self, name: str, client_port: int, peer_port: int, initial_cluster: str
    ) -> None:
        client, peer = f"http://{LOOPBACK}:{client_port}", f"http://{LOOPBACK}:{peer_port}"
        with open(self._log(name), "ab") as log:
            self.processes[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "raftkv",
                f"--name={name}",
                f"--data-dir={self.data_dir / name}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster={initial_cluster}",
                "--initial-cluster-token=orchestrator",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a terminal's Ctrl-C is the daemon's to hand on
            )

    def _log(self, name: str) -> Path:
        return self.data_dir / f"{name}.log"

    async def _wait_until_serving(self) -> None:
        async with Client(self.endpoints, timeout_s=1.0) as client:
            async with asyncio.timeout(START_TIMEOUT_S):
                waiting = set(range(self.count))
                while waiting:
                    for at in sorted(waiting):
                        self._check_running()
                        try:
                            if (await client.status(at)).leader:
                                waiting.discard(at)
                        except ClientError:
                            pass
                    if waiting:
                        await asyncio.sleep(0.02)

    def _check_running(self) -> None:
        for name, process in self.processes.items():
            if process.returncode is not None:
                raise StoreError(
                    f"raftkv member {name} ended with status {process.returncode}; "
                    f"its log is {self._log(name)}"
                )

    def children(self) -> dict[str, ProcessId]:
        return {f"raftkv {name}": ProcessId.of(p.pid) for name, p in self.processes.items()}

    async def stop(self) -> None:
        """Ask every member to end, and kill those that do not within the time."""
        for process in self.processes.values():
            if process.returncode is None:
                process.terminate()
        for process in self.processes.values():
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        self.processes.clear()
