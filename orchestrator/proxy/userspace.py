"""Cluster IPs without root: a TCP relay that listens on loopback addresses.

For the process runtime, whose cluster IPs are taken from 127.0.0.0/8: Linux lets anyone listen
on any of them. What it cannot do is said once in the log for each port: UDP and SCTP, ports below
the unprivileged range, and session affinity by more than the client's address, which is the same
for all.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import suppress

from orchestrator.client.rest_client import RestClient
from orchestrator.proxy.service_map import Endpoint, ServicePort
from orchestrator.proxy.service_watcher import ServiceWatcher

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
CHUNK_BYTES = 64 * 1024
CONNECTIONS_MAX = 1024
"""Of one service port; more wait in the listener's backlog."""


def round_robin(endpoints: tuple[Endpoint, ...], turn: int) -> tuple[Endpoint, ...]:
    """Return the endpoints in the order to try them at this turn."""
    start = turn % len(endpoints) if endpoints else 0
    return endpoints[start:] + endpoints[:start]


class _Listener:
    """One service port: a listening address and the endpoints behind it."""

    def __init__(self, port: ServicePort) -> None:
        self.port = port
        self._server: asyncio.Server | None = None
        self._turns = itertools.count()
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self._relays: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, host, port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for relay in list(self._relays):
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a coroutine of a stream server runs as a task"
        self._relays.add(task)
        try:
            async with self._slots:
                await self._relay(reader, writer)
        finally:
            self._relays.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for endpoint in round_robin(self.port.endpoints, next(self._turns)):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    there = await asyncio.open_connection(endpoint.ip, endpoint.port)
            except OSError:
                continue
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_copy(reader, there[1]))
                    group.create_task(_copy(there[0], writer))
            finally:
                there[1].close()
            return
        # No endpoint: a reset, as near as a listener comes to refusing.
        writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy to the end, then end the other direction too; a broken peer ends quietly."""
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


class UserspaceProxy:
    """Listens for every TCP service port until cancelled. `node_ip` takes the node ports."""

    def __init__(self, client: RestClient, node_ip: str = "127.0.0.1") -> None:
        self._node_ip = node_ip
        self._watcher = ServiceWatcher(client, self.apply)
        self._listeners: dict[tuple[str, int], _Listener] = {}
        self._refused: set[tuple[str, int]] = set()

    @property
    def synced(self) -> asyncio.Event:
        """Set once the first Services are served."""
        return self._watcher.synced

    async def run(self) -> None:
        """Follow the cluster until cancelled, then close all listeners."""
        try:
            await self._watcher.run()
        finally:
            await self.apply([])

    async def apply(self, ports: list[ServicePort]) -> None:
        """Listen for exactly these ports; connections that are open go on."""
        wanted = {address: port for port in ports for address in self._addresses(port)}
        for address in [a for a in self._listeners if a not in wanted]:
            await self._listeners.pop(address).stop()
        self._refused &= wanted.keys()
        for address, port in wanted.items():
            listener = self._listeners.get(address)
            if listener is not None:
                listener.port = port
            elif address not in self._refused:
                await self._listen(address, port)

    def _addresses(self, port: ServicePort) -> list[tuple[str, int]]:
        addresses = [(port.cluster_ip, port.port)]
        if port.node_port:
            addresses.append((self._node_ip, port.node_port))
        return addresses

    async def _listen(self, address: tuple[str, int], port: ServicePort) -> None:
        problem = self._problem(address, port)
        if not problem:
            listener = _Listener(port)
            try:
                await listener.start(*address)
            except OSError as error:
                problem = error.strerror or str(error)
            else:
                self._listeners[address] = listener
        if problem:
            self._refused.add(address)
            log.warning("service %s is not served at %s:%d: %s", port.key, *address, problem)

    def _problem(self, address: tuple[str, int], port: ServicePort) -> str:
        if port.protocol != "TCP":
            return f"{port.protocol} needs the nftables proxy"
        if not address[0].startswith("127."):
            return "the cluster IP is no loopback address"
        return ""
