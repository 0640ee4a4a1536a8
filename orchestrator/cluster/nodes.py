"""The nodes of a local cluster: one runtime, a kubelet a node, and the Services' proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from orchestrator.client.rest_client import RestClient
from orchestrator.cluster.access import ServerAccess
from orchestrator.cluster.images import archives
from orchestrator.cluster.settings import ClusterSettings
from orchestrator.kubelet.config import KubeletConfig, ServingConfig
from orchestrator.kubelet.kubelet import Kubelet
from orchestrator.proxy.nft_proxy import NftProxy, bridged_packets_bypass_netfilter
from orchestrator.proxy.nft_rules import NodeNetwork, table_name
from orchestrator.proxy.userspace import UserspaceProxy
from orchestrator.runtime.protocol import Runtime

NODE_ADDRESS = "127.0.0.1"
"""Kubelets listen on loopback only: the API server that asks them is on this machine."""

PROXY_MODES = {"containerd": "nftables", "process": "userspace"}
"""Hollow pods serve nothing, so nothing leads to them."""

HOLLOW_CAPACITY = {"cpu": "32", "memory": "64Gi", "pods": "110"}


class NodeSet:
    """All nodes, sharing one REST client; used once."""

    def __init__(self, settings: ClusterSettings, access: ServerAccess) -> None:
        self.settings = settings
        self.access = access
        self.kubelets: list[Kubelet] = []
        self._proxy: NftProxy | UserspaceProxy | None = None
        self._work: list[tuple[str, Coroutine[None, None, None]]] = []

    async def start_runtime(self, stack: AsyncExitStack) -> None:
        """Start what containers run in, load the images, and make the kubelets.

        Stopping is put on the stack here and so comes after the kubelets have ended.
        """
        settings = self.settings
        # One client for all nodes of this process: its certificate is the first node's.
        pair = self.access.pki.kubelet(self.node_name(1))
        client = RestClient(self.access.client_config(pair, "kubelet"))
        stack.push_async_callback(client.close)
        for number in range(1, settings.nodes + 1):
            runtime = await start_runtime(stack, settings.runtime, settings.data_dir)
            self.kubelets.append(Kubelet(self._config(number), client, runtime))
        self._work = [(f"kubelet {k.config.node_name}", k.run()) for k in self.kubelets]
        mode = PROXY_MODES.get(settings.runtime)
        if mode is not None:
            proxy = RestClient(self.access.client_config(self.access.pki.proxy(), "proxy"))
            stack.push_async_callback(proxy.close)
            self._proxy = make_service_proxy(
                proxy, mode, self.node_name(1), settings.cluster_cidr, settings.data_dir
            )
            self._work.append(("proxy", self._proxy.run()))

    def components(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """Give (name, work) of every component to run until the cluster stops."""
        yield from self._work

    async def wait_ready(self) -> None:
        for kubelet in self.kubelets:
            await kubelet.ready.wait()
        if self._proxy is not None:
            await self._proxy.synced.wait()

    def node_name(self, number: int) -> str:
        return f"hollow-{number}" if self.settings.runtime == "hollow" else f"node-{number}"

    def _config(self, number: int) -> KubeletConfig:
        name, settings = self.node_name(number), self.settings
        hollow = settings.runtime == "hollow"
        return KubeletConfig(
            node_name=name,
            data_dir=settings.data_dir / "nodes" / name,
            node_ip=NODE_ADDRESS,
            serving=None if hollow else self._serving(name),
            capacity=HOLLOW_CAPACITY if hollow else {},
            remove_pods_on_stop=not hollow,
        )

    def _serving(self, name: str) -> ServingConfig:
        pair = self.access.pki.kubelet_serving(name, [NODE_ADDRESS])
        return ServingConfig(
            host=NODE_ADDRESS,
            cert_file=pair.certificate_path,
            key_file=pair.key_path,
            client_ca_file=self.access.pki.ca.certificate_path,
        )


async def start_runtime(stack: AsyncExitStack, kind: str, directory: Path) -> Runtime:
    """Start the runtime `kind` (containerd, process or hollow) with its data in `directory`."""
    match kind:
        case "hollow":
            from orchestrator.runtime.hollow import HollowRuntime

            return HollowRuntime()
        case "containerd":
            return await start_containerd(stack, directory)
        case _:
            return await start_process_runtime(stack, directory)


async def start_containerd(stack: AsyncExitStack, directory: Path) -> Runtime:
    """Start a private containerd with its images; it is stopped when the stack unwinds."""
    from orchestrator.runtime.containerd import ContainerdRuntime
    from orchestrator.runtime.containerd_daemon import ContainerdDaemon

    daemon = ContainerdDaemon(directory / "containerd")
    stack.push_async_callback(daemon.stop)
    built = asyncio.create_task(asyncio.to_thread(archives, directory))
    await daemon.start()
    for archive in await built:
        await daemon.import_images(archive)
    runtime = ContainerdRuntime(daemon.layout)
    stack.push_async_callback(runtime.close)
    return runtime


async def start_process_runtime(stack: AsyncExitStack, directory: Path) -> Runtime:
    """Unpack the images; every container is ended when the stack unwinds."""
    from orchestrator.images.image_store import ImageStore
    from orchestrator.runtime.process import ProcessRuntime

    images = ImageStore(directory / "image-store")
    for archive in await asyncio.to_thread(archives, directory):
        images.load_archive(archive)
    runtime = ProcessRuntime(directory / "process", images)
    stack.push_async_callback(runtime.close)
    return runtime


def make_service_proxy(
    client: RestClient, mode: str, node_name: str, cluster_cidr: str, directory: Path
) -> NftProxy | UserspaceProxy:
    """Give the Services' proxy of one node: `nftables` (root) or `userspace`."""
    if mode == "userspace":
        return UserspaceProxy(client)
    network = NodeNetwork(
        cluster_cidr=cluster_cidr,
        node_name=node_name,
        masquerade_bridged=bridged_packets_bypass_netfilter(),
        table=table_name(str(directory)),
    )
    return NftProxy(client, network, directory)
