"""A whole control plane in one process: real etcd, real API server, all controllers, scheduler."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import LEASE, NODE, POD, Resource
from orchestrator.api.times import format_micro_time, format_time
from orchestrator.apiserver.config import ApiServerConfig
from orchestrator.apiserver.server import ApiServer
from orchestrator.client.config import ClientConfig
from orchestrator.client.informer import EventHandler, Informer, InformerFactory
from orchestrator.client.rest_client import RestClient
from orchestrator.controllers.config import ControllerManagerConfig
from orchestrator.controllers.controller_manager import ControllerManager
from orchestrator.scheduler.config import SchedulerConfig
from orchestrator.scheduler.scheduler import Scheduler
from raftkv.testing.ports import free_port
from raftkv.testing.real_etcd import etcd_binary

START_S = 20.0
WAIT_S = 15.0
HEARTBEAT_S = 0.25
_roots = itertools.count()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a running etcd."""
    binary = etcd_binary()
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    flags = {
        "data-dir": str(tmp_path_factory.mktemp("etcd")),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
    }
    process = subprocess.Popen(
        [binary, *(f"--{name}={value}" for name, value in flags.items())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + START_S
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(client.rsplit(":")[-1]))).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.02)
        yield client
    finally:
        process.terminate()
        process.wait()


class HollowKubelet:
    """A node without containers: pods run as soon as they are bound, and stop as soon as told."""

    def __init__(self, client: RestClient, name: str, number: int) -> None:
        self.name = name
        self._client = client
        self._number = number
        self._addresses = itertools.count(2)
        self.becomes_ready: Callable[[JsonObject], bool] = lambda pod: True
        self._work: asyncio.Queue[JsonObject] = asyncio.Queue()
        self._pods = Informer(client, POD, field_selector=f"spec.nodeName={name}")
        self._pods.add_handler(
            EventHandler(self._work.put_nowait, lambda _, pod: self._work.put_nowait(pod))
        )

    async def run(self) -> None:
        await self._client.create(NODE, "", self._node())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run())
            group.create_task(self._heartbeat())
            group.create_task(self._serve())

    def look_again(self) -> None:
        """Judge readiness anew."""
        for pod in self._pods.store.list():
            self._work.put_nowait(pod)

    def _node(self) -> JsonObject:
        amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "lastHeartbeatTime": format_time(datetime.now(UTC)),
            "lastTransitionTime": format_time(datetime.now(UTC)),
        }
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}},
            "status": {"capacity": amounts, "allocatable": amounts, "conditions": [ready]},
        }

    async def _heartbeat(self) -> None:
        lease: JsonObject = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": self.name, "leaseDurationSeconds": 40},
        }
        lease = await self._client.create(LEASE, "kube-node-lease", lease)
        while True:
            lease["spec"]["renewTime"] = format_micro_time(datetime.now(UTC))
            lease = await self._client.update(LEASE, lease)
            await asyncio.sleep(HEARTBEAT_S)

    async def _serve(self) -> None:
        while True:
            pod = await self._work.get()
            try:
                await self._sync(pod)
            except StatusError as exc:
                if exc.code not in (404, 409):
                    raise

    async def _sync(self, pod: JsonObject) -> None:
        metadata = pod["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        if "deletionTimestamp" in metadata:
            uid = metadata["uid"]
            await self._client.delete(POD, namespace, name, grace_period_s=0, uid=uid)
            return
        ready = "True" if self.becomes_ready(pod) else "False"
        status = pod.get("status") or {}
        known = [c["status"] for c in status.get("conditions") or () if c["type"] == "Ready"]
        if known == [ready]:
            return
        address = status.get("podIP") or f"10.9.{self._number}.{next(self._addresses)}"
        condition = {
            "type": "Ready",
            "status": ready,
            "lastTransitionTime": format_time(datetime.now(UTC)),
        }
        others = [c for c in status.get("conditions") or () if c["type"] != "Ready"]
        patch = {
            "status": {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": [*others, condition],
            }
        }
        await self._client.patch(POD, namespace, name, patch, subresource="status")


@dataclass
class ControlPlane:
    """What a test holds: a client as administrator, and nodes that it can stop."""

    server: ApiServer
    client: RestClient
    group: asyncio.TaskGroup
    kubelets: dict[str, tuple[HollowKubelet, asyncio.Task[None]]] = field(default_factory=dict)

    async def add_node(self, name: str) -> HollowKubelet:
        kubelet = HollowKubelet(self.client, name, len(self.kubelets) + 1)
        self.kubelets[name] = kubelet, self.group.create_task(kubelet.run())
        return kubelet

    def stop_node(self, name: str) -> None:
        self.kubelets[name][1].cancel()

    async def restart_server(self) -> None:
        """Stop the API server and start another on the same address and store."""
        await self.server.stop()
        self.server = ApiServer(replace(self.server.config, port=self.server.port))
        await self.server.start()

    async def names(self, resource: Resource, namespace: str = "default") -> list[str]:
        found = await self.client.list(resource, namespace)
        return sorted(item["metadata"]["name"] for item in found.get("items") or ())

    async def items(self, resource: Resource, namespace: str = "default") -> list[JsonObject]:
        found = await self.client.list(resource, namespace)
        items: list[JsonObject] = found.get("items") or []
        return items

    async def until(self, holds: Callable[[], Any], wait_s: float = WAIT_S) -> None:
        """Poll an async predicate until it is true; TimeoutError after `wait_s`."""
        async with asyncio.timeout(wait_s):
            while not await holds():
                await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def pki_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("control-plane")


@asynccontextmanager
async def running(etcd: str, directory: Path) -> AsyncIterator[ControlPlane]:
    server = ApiServer(
        ApiServerConfig(
            data_dir=directory,
            etcd_endpoints=(etcd,),
            port=0,
            etcd_prefix=f"/registry{next(_roots)}",
            compaction_interval_s=0,
        )
    )
    await server.start()
    ca, admin = server.pki.ca_pem, server.pki.admin()
    client_config = ClientConfig(server.url, ca, admin.certificate, admin.key)
    manager_config = ControllerManagerConfig(
        node_monitor_grace_period_s=2.0, node_monitor_period_s=0.25, root_ca_pem=ca
    )
    plane: ControlPlane | None = None
    try:
        async with RestClient(client_config) as client, asyncio.TaskGroup() as group:
            tasks = [group.create_task(ControllerManager(client_config, manager_config).run())]
            informers = InformerFactory(client)
            scheduler = Scheduler(client, SchedulerConfig(), informers)
            tasks.append(group.create_task(informers.run()))
            tasks.append(group.create_task(scheduler.run()))
            plane = ControlPlane(server, client, group)
            yield plane
            for task in (*tasks, *(task for _, task in plane.kubelets.values())):
                task.cancel()
    finally:
        await (plane.server if plane else server).stop()


@pytest.fixture
async def plane(etcd: str, pki_directory: Path) -> AsyncIterator[ControlPlane]:
    """A control plane without nodes."""
    async with running(etcd, pki_directory) as control_plane:
        yield control_plane
