"""The process behind `orchestrator up`: every component of the cluster on one event loop.

Start order is store, API server, controllers and scheduler, runtime, nodes, proxy; stopping goes
the other way, so that each part still has what it needs to leave nothing behind. The record on
disk follows each step: the commands read it, nobody else writes it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from orchestrator import kubeconfig
from orchestrator.client.config import ClientConfig
from orchestrator.cluster.access import ServerAccess
from orchestrator.cluster.network import NetworkTakenError, claim_network
from orchestrator.cluster.nodes import NodeSet
from orchestrator.cluster.ports import choose_port
from orchestrator.cluster.record import ClusterRecord, ProcessId
from orchestrator.cluster.settings import ClusterSettings
from orchestrator.cluster.store import StoreError, StoreProcesses, wait_for_store
from orchestrator.images.image import ImageError
from orchestrator.runtime.pod_network import bridge_name
from orchestrator.runtime.protocol import RuntimeFailure

log = logging.getLogger(__name__)

NODES_READY_TIMEOUT_S = 60.0

EXPECTED = (StoreError, RuntimeFailure, ImageError, NetworkTakenError, OSError)
"""Failures whose message says all there is to say; any other is logged with its traceback."""


def run(data_dir: Path) -> int:
    """Run until SIGTERM; exit status 1 when a component failed."""
    settings = ClusterSettings.load(data_dir)
    if settings is None:
        raise ValueError(f"{data_dir} has no settings; `orchestrator up` writes them")
    return run_with(settings)


def run_foreground(settings: ClusterSettings) -> int:
    """The same on this terminal, until Ctrl-C."""
    earlier = ClusterSettings.load(settings.data_dir)
    return run_with(settings if earlier is None else settings.following(earlier))


def run_with(settings: ClusterSettings) -> int:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    return asyncio.run(ClusterDaemon(resolve_runtime(settings)).run())


def resolve_runtime(settings: ClusterSettings) -> ClusterSettings:
    """Replace `auto` by containerd where a private one can run, else by process."""
    if settings.runtime != "auto":
        return settings
    from orchestrator.runtime.containerd_daemon import missing_requirements

    missing = missing_requirements()
    if missing:
        log.info("no containerd (missing: %s): using the process runtime", ", ".join(missing))
    return replace(settings, runtime="process" if missing else "containerd")


async def schedule(config: ClientConfig) -> None:
    """Run the scheduler on caches of its own until cancelled."""
    from orchestrator.client.informer import InformerFactory
    from orchestrator.client.rest_client import RestClient
    from orchestrator.scheduler.config import SchedulerConfig
    from orchestrator.scheduler.scheduler import Scheduler

    async with RestClient(config) as client:
        informers = InformerFactory(client)
        scheduler = Scheduler(client, SchedulerConfig(), informers)
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run(), name="scheduler/informers")
            group.create_task(scheduler.run(), name="scheduler")


def describe(error: BaseException) -> str:
    return str(error) or type(error).__name__


class ClusterDaemon:
    """Owns every component's life. `run` is called once."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.record = ClusterRecord(ProcessId.of(os.getpid()), runtime=settings.runtime)
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._step("starting")
        try:
            async with AsyncExitStack() as stack:
                starting = asyncio.ensure_future(self._start(stack))
                stopping = asyncio.ensure_future(self._stop.wait())
                await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    starting.result()
                    self._phase("ready", "ready")
                    await stopping
                else:
                    starting.cancel()
                    await asyncio.wait({starting})
                stopping.cancel()
                self._phase("stopping", "stopping pods and components")
        except EXPECTED as error:
            log.error("the cluster failed: %s", describe(error))
            self._failure = self._failure or error
        except Exception as error:
            log.exception("the cluster failed")
            self._failure = self._failure or error
        if self._failure is not None:
            self.record.error = describe(self._failure)
            self._phase("failed", "failed")
            return 1
        ClusterRecord.remove(self.settings.data_dir)
        return 0

    async def _start(self, stack: AsyncExitStack) -> None:
        self._claim_network(stack)
        endpoints = await self._start_store(stack)
        server = await self._start_api_server(stack, endpoints)
        self._step("starting controllers and scheduler")
        await self._start_control_loops(stack, server)
        nodes = NodeSet(self.settings, server)
        self._step(f"starting the {self.settings.runtime} runtime")
        await nodes.start_runtime(stack)
        self._step(f"starting {self.settings.nodes} node{'s' * (self.settings.nodes > 1)}")
        for name, work in nodes.components():
            self._spawn(stack, name, work)
        async with asyncio.timeout(NODES_READY_TIMEOUT_S):
            await nodes.wait_ready()

    def _claim_network(self, stack: AsyncExitStack) -> None:
        """Take a network that no other cluster here has, and remember it for the next start."""
        settings = self.settings
        if settings.runtime != "hollow":  # whose addresses lead nowhere
            claim = claim_network(
                settings.network,
                loopback=settings.on_loopback,
                own_link=bridge_name(settings.data_dir / "containerd"),
            )
            stack.callback(claim.close)
            self.settings = replace(settings, network=claim.number)
        self.settings.save()

    async def _start_store(self, stack: AsyncExitStack) -> list[str]:
        settings = self.settings
        if settings.etcd_servers:
            self._step(f"asking the store at {', '.join(settings.etcd_servers)}")
            await wait_for_store(settings.etcd_servers)
            self.record.etcd_endpoints = list(settings.etcd_servers)
            return self.record.etcd_endpoints
        self._step(f"starting the store: {settings.members} × raftkv")
        store = StoreProcesses(settings.data_dir / "store", settings.members)
        stack.push_async_callback(store.stop)
        await store.start()
        self.record.children.update(store.children())
        self.record.etcd_endpoints = store.endpoints
        return store.endpoints

    async def _start_api_server(self, stack: AsyncExitStack, endpoints: list[str]) -> ServerAccess:
        from orchestrator.apiserver.config import ApiServerConfig
        from orchestrator.apiserver.server import ApiServer

        self._step("starting the API server")
        settings = self.settings
        port = choose_port(settings.host, settings.port)
        server = ApiServer(
            ApiServerConfig(
                data_dir=settings.data_dir / "apiserver",
                etcd_endpoints=tuple(endpoints),
                host=settings.host,
                port=port,
                service_cidr=settings.service_cidr,
                pod_gateway=settings.pod_gateway,
            )
        )
        stack.push_async_callback(server.stop)
        await server.start()
        access = ServerAccess(server.url, server.pki)
        admin = server.pki.admin()
        ca_pem = server.pki.ca_pem
        self.record.context = kubeconfig.write(
            settings.kubeconfig, access.url, ca_pem, admin.certificate, admin.key
        )
        stack.callback(kubeconfig.remove, settings.kubeconfig, ca_pem)
        self.record.server = access.url
        return access

    async def _start_control_loops(self, stack: AsyncExitStack, access: ServerAccess) -> None:
        from orchestrator.controllers.config import ControllerManagerConfig
        from orchestrator.controllers.controller_manager import ControllerManager

        grace_s = self.settings.node_monitor_grace_period_s
        manager = ControllerManager(
            access.client_config(access.pki.controller_manager(), "controller-manager"),
            ControllerManagerConfig(
                cluster_cidr=self.settings.cluster_cidr,
                node_monitor_grace_period_s=grace_s,
                node_monitor_period_s=min(5.0, grace_s / 4),
                root_ca_pem=access.pki.ca_pem,
            ),
        )
        self._spawn(stack, "controller-manager", manager.run())
        scheduler = access.client_config(access.pki.scheduler(), "scheduler")
        self._spawn(stack, "scheduler", schedule(scheduler))

    def _spawn(self, stack: AsyncExitStack, name: str, work: Coroutine[None, None, None]) -> None:
        """Run a component until the stack unwinds; its failure stops the cluster."""
        task = asyncio.get_running_loop().create_task(work, name=name)

        def ended(done: asyncio.Task[None]) -> None:
            if done.cancelled() or self._stop.is_set():
                return
            self._failure = done.exception() or RuntimeError(f"{name} ended by itself")
            log.error("%s failed", name, exc_info=self._failure)
            self._stop.set()

        async def end() -> None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("%s failed while stopping", name, exc_info=error)

        task.add_done_callback(ended)
        stack.push_async_callback(end)

    def _step(self, text: str) -> None:
        self._phase(self.record.phase, text)

    def _phase(self, phase: str, step: str) -> None:
        log.info("%s", step)
        self.record.phase, self.record.step = phase, step
        self.record.save(self.settings.data_dir)
