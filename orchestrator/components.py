"""Each component by itself: `orchestrator apiserver`, `scheduler`, `controller-manager`, …

`orchestrator up` runs the same components in one process; these verbs are for spreading them over
processes and machines. All of them run in the foreground until SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.client.config import ClientConfig

CONTEXT = "orchestrator"


def add_component_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add a verb a component."""
    server = verbs.add_parser("apiserver", help="the API server by itself")
    server.add_argument("--etcd-servers", required=True, help="comma-separated store endpoints")
    server.add_argument("--data-dir", type=Path, required=True, help="certificates are kept here")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on")
    server.add_argument("--port", type=int, default=6443)
    server.add_argument("--service-cluster-ip-range", default="10.96.0.0/16", metavar="CIDR")
    server.add_argument("--kubeconfig", type=Path, help="write an administrator's context here")
    server.set_defaults(run=run_apiserver)

    scheduler = verbs.add_parser("scheduler", help="the scheduler by itself")
    add_kubeconfig(scheduler)
    scheduler.set_defaults(run=run_scheduler)

    manager = verbs.add_parser("controller-manager", help="all controllers by themselves")
    add_kubeconfig(manager)
    manager.add_argument("--cluster-cidr", default="10.244.0.0/16", help="pods' addresses")
    manager.add_argument("--node-monitor-grace-period", type=float, default=40.0, metavar="SECONDS")
    manager.set_defaults(run=run_controller_manager)

    kubelet = verbs.add_parser("kubelet", help="one node's agent by itself")
    add_kubeconfig(kubelet)
    kubelet.add_argument("--data-dir", type=Path, required=True)
    kubelet.add_argument("--node-name", default=socket.gethostname().lower())
    kubelet.add_argument("--node-ip", default="127.0.0.1")
    kubelet.add_argument(
        "--runtime", choices=("containerd", "process", "hollow"), default="process"
    )
    kubelet.add_argument("--tls-cert-file", type=Path, help="serve logs with this certificate")
    kubelet.add_argument("--tls-private-key-file", type=Path)
    kubelet.add_argument("--client-ca-file", type=Path, help="whose clients may ask")
    kubelet.set_defaults(run=run_kubelet)

    proxy = verbs.add_parser("proxy", help="the service proxy by itself")
    add_kubeconfig(proxy)
    proxy.add_argument("--data-dir", type=Path, required=True)
    proxy.add_argument("--cluster-cidr", default="10.244.0.0/16", help="pods' addresses")
    proxy.add_argument("--node-name", default=socket.gethostname().lower())
    proxy.add_argument(
        "--mode",
        choices=("nftables", "userspace"),
        default="nftables",
        help="nftables: kernel rules, as root; userspace: listens on loopback Service addresses",
    )
    proxy.set_defaults(run=run_proxy)


def add_kubeconfig(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--kubeconfig", type=Path, required=True, help="how to reach the API server")


def client_config(options: argparse.Namespace, component: str) -> ClientConfig:
    from orchestrator.client.config import ClientConfig

    return ClientConfig.from_kubeconfig(options.kubeconfig, user_agent=component)


def run_until_signal(work: Coroutine[None, None, None]) -> int:
    """Run one component until it fails (status 1) or a signal ends it (status 0)."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )

    async def main() -> int:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return 0
        except Exception:
            logging.getLogger(__name__).exception("the component failed")
        return 1

    return asyncio.run(main())


def run_apiserver(options: argparse.Namespace) -> int:
    from orchestrator import kubeconfig
    from orchestrator.apiserver.config import ApiServerConfig
    from orchestrator.apiserver.server import ApiServer

    config = ApiServerConfig(
        data_dir=options.data_dir.absolute(),
        etcd_endpoints=tuple(server for server in options.etcd_servers.split(",") if server),
        host=options.host,
        port=options.port,
        service_cidr=options.service_cluster_ip_range,
    )
    config.validate()

    async def serve() -> None:
        server = ApiServer(config)
        await server.start()
        if options.kubeconfig is not None:
            admin = server.pki.admin()
            kubeconfig.write(
                options.kubeconfig, server.url, server.pki.ca_pem, admin.certificate, admin.key
            )
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop()

    return run_until_signal(serve())


def run_scheduler(options: argparse.Namespace) -> int:
    from orchestrator.cluster.daemon import schedule

    return run_until_signal(schedule(client_config(options, "scheduler")))


def run_controller_manager(options: argparse.Namespace) -> int:
    from orchestrator.controllers.config import ControllerManagerConfig
    from orchestrator.controllers.controller_manager import ControllerManager

    client = client_config(options, "controller-manager")
    grace_s = options.node_monitor_grace_period
    config = ControllerManagerConfig(
        cluster_cidr=options.cluster_cidr,
        node_monitor_grace_period_s=grace_s,
        node_monitor_period_s=min(5.0, grace_s / 4),
        root_ca_pem=client.ca_pem or b"",
    )
    config.validate()
    return run_until_signal(ControllerManager(client, config).run())


def run_kubelet(options: argparse.Namespace) -> int:
    from orchestrator.client.rest_client import RestClient
    from orchestrator.cluster.nodes import HOLLOW_CAPACITY, start_runtime
    from orchestrator.kubelet.config import KubeletConfig, ServingConfig
    from orchestrator.kubelet.kubelet import Kubelet

    serving = None
    if options.tls_cert_file is not None:
        serving = ServingConfig(
            host=options.node_ip,
            cert_file=options.tls_cert_file,
            key_file=options.tls_private_key_file,
            client_ca_file=options.client_ca_file,
        )
    data_dir = options.data_dir.absolute()
    config = KubeletConfig(
        node_name=options.node_name,
        data_dir=data_dir / "kubelet",
        node_ip=options.node_ip,
        serving=serving,
        capacity=HOLLOW_CAPACITY if options.runtime == "hollow" else {},
    )

    async def work() -> None:
        async with AsyncExitStack() as stack:
            client = RestClient(client_config(options, "kubelet"))
            await stack.enter_async_context(client)
            runtime = await start_runtime(stack, options.runtime, data_dir)
            await Kubelet(config, client, runtime).run()

    return run_until_signal(work())


def run_proxy(options: argparse.Namespace) -> int:
    from orchestrator.client.rest_client import RestClient
    from orchestrator.cluster.nodes import make_service_proxy

    directory = options.data_dir.absolute()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def work() -> None:
        async with RestClient(client_config(options, "proxy")) as client:
            proxy = make_service_proxy(
                client, options.mode, options.node_name, options.cluster_cidr, directory
            )
            await proxy.run()

    return run_until_signal(work())
