"""The API server, assembled: TLS, authentication, limits, routes, and its life cycle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time

from aiohttp import web

from orchestrator.api.errors import StatusError
from orchestrator.api.resource import Registry, Resource
from orchestrator.api.resources import BUILT_IN, EVENT, NAMESPACE, NODE, SERVICE
from orchestrator.api.strategy import Strategy
from orchestrator.apiserver import health
from orchestrator.apiserver.admission import (
    AdmissionChain,
    DefaultTolerationSeconds,
    NamespaceLifecycle,
    Priority,
    ServiceAccount,
)
from orchestrator.apiserver.bootstrap import create_bootstrap_objects
from orchestrator.apiserver.compaction import Compactor
from orchestrator.apiserver.config import ApiServerConfig
from orchestrator.apiserver.discovery import Discovery
from orchestrator.apiserver.event_leases import EventLeases
from orchestrator.apiserver.front import Front
from orchestrator.apiserver.internal_access import InternalAccess
from orchestrator.apiserver.metrics import Metrics
from orchestrator.apiserver.openapi import OpenApi
from orchestrator.apiserver.pod_log import PodLog
from orchestrator.apiserver.resource_handler import ResourceHandler
from orchestrator.apiserver.resource_store import Companions, ResourceStore
from orchestrator.apiserver.service_allocation import ServiceAllocation
from orchestrator.apiserver.storage import RevisionClock, Storage
from orchestrator.apiserver.stored import Conversion
from orchestrator.apiserver.subresources import SubresourceHandlers
from orchestrator.apiserver.watch_cache import WatchCache
from orchestrator.pki import KeyPair, Pki
from raftkv.client import Client, ClientError

log = logging.getLogger(__name__)

SHUTDOWN_WAIT_S = 2.0
"""How long `stop` lets answers finish."""

PROGRESS_INTERVAL_S = 10.0
"""How often the store is asked how far it is, for the bookmarks of quiet resources."""

BOOTSTRAP_RETRY_S = 0.5

_IP_FREEBIND = 15
"""Of Linux's <netinet/in.h>; the module `socket` of Python 3.11 has no name for it."""


class ApiServer:
    """One API server.

    `start` returns once it serves and its bootstrap objects exist, however long the store takes to
    come up. `stop` ends it, also where `start` failed or was cancelled; neither may be repeated.
    """

    def __init__(self, config: ApiServerConfig, registry: Registry | None = None) -> None:
        config.validate()
        self.config = config
        self.registry = registry if registry is not None else Registry(BUILT_IN)
        self.pki = Pki(config.data_dir / "pki")
        self.port = config.port
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.ServerRunner | None = None
        self._assemble()

    @property
    def url(self) -> str:
        """Where clients reach this server; valid after `start`."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"https://{host}:{self.port}"

    @property
    def serving(self) -> KeyPair:
        """The serving certificate, made when it is missing or old."""
        config = self.config
        hosts = [config.kubernetes_service_ip, *config.serving_hosts]
        hosts += [config.host, config.advertised]
        return self.pki.apiserver(host for host in hosts if host not in ("0.0.0.0", "::"))

    async def start(self) -> None:
        """Connect to the store, listen, and create the bootstrap objects."""
        server = web.Server(self._front.handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_WAIT_S)
        await self._runner.setup()
        tls = self._tls()
        site = web.TCPSite(self._runner, self.config.host, self.config.port, ssl_context=tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        if self.config.pod_gateway:
            listener = _listen_ahead(self.config.pod_gateway, self.port)
            await web.SockSite(self._runner, listener, ssl_context=tls).start()
        await self._bootstrap()
        self._tasks.append(asyncio.create_task(self._request_progress()))
        if self.config.compaction_interval_s > 0:
            compactor = Compactor(self._client, self.config.compaction_interval_s)
            self._tasks.append(asyncio.create_task(compactor.run()))
        log.info("serving %s", self.url)

    async def stop(self) -> None:
        """End watches, finish what is being answered, and close everything."""
        self._health.stopping = True
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for store in self.stores.values():
            await store.cache.stop()
        await self._pod_log.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._client.close()

    def _assemble(self) -> None:
        config = self.config
        self._client = Client(config.etcd_endpoints)
        self._health = health.Health(self._client)
        self._admission = AdmissionChain()
        self.stores = self._make_stores()
        self.access = InternalAccess(self.stores)
        lifecycle = NamespaceLifecycle(self.access)
        self._admission.deletion_plugins.append(lifecycle)
        self._admission.plugins += [
            lifecycle,
            Priority(),
            ServiceAccount(),
            DefaultTolerationSeconds(),
        ]
        kubelet_client = self.pki.apiserver_kubelet_client()
        self._pod_log = PodLog(self.access.store(NODE), kubelet_client, self.pki.ca_pem)
        subresources = SubresourceHandlers({("", "pods", "log"): self._pod_log.serve})
        handler = ResourceHandler(
            self.registry,
            self.stores,
            subresources,
            body_bytes_max=config.request_body_bytes_max,
            bookmark_interval_s=config.bookmark_interval_s,
        )
        self._front = Front(
            config,
            handler,
            discovery=Discovery(self.registry, f"{config.host}:{config.port}"),
            openapi=OpenApi(self.registry),
            health=self._health,
            metrics=Metrics(),
            group_versions=self.registry.group_versions,
        )

    def _make_stores(self) -> dict[tuple[str, str, str], ResourceStore]:
        config, clock = self.config, RevisionClock()
        root = config.etcd_prefix
        companions: dict[tuple[str, str], Companions] = {
            (SERVICE.group, SERVICE.plural): ServiceAllocation(
                self._client,
                root,
                config.service_cidr,
                config.node_port_first,
                config.node_port_last,
            ),
        }
        leases = EventLeases(self._client, config.event_ttl_s, time.monotonic)
        stores = {}
        for row in self.registry:
            storage = Storage(self._client, clock, *_conversions(row))
            cache = WatchCache(
                storage,
                f"{root}/{row.storage_key()}".encode(),
                window_max=config.watch_window_events_max,
                queue_max=config.watch_queue_events_max,
            )
            own = companions.get((row.group, row.plural))
            if row.storage_prefix == EVENT.storage_prefix:
                own = leases
            stores[row.group, row.version, row.plural] = ResourceStore(
                row, storage, cache, root, self._admission, own
            )
        return stores

    def _tls(self) -> ssl.SSLContext:
        """Serve our certificate; ask for the client's, and check it where one is sent."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        serving = self.serving
        context.load_cert_chain(serving.certificate_path, serving.key_path)
        context.load_verify_locations(cadata=self.pki.ca_pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def _bootstrap(self) -> None:
        """Create what every cluster has; wait for a store that is still electing its leader."""
        config = self.config
        address = config.advertised
        while True:
            try:
                await self.access.store(NAMESPACE).cache.ensure_started()
                await create_bootstrap_objects(
                    self.access,
                    service_ip=config.kubernetes_service_ip,
                    address=address,
                    port=self.port,
                )
                self._health.bootstrapped = True
                return
            except (ClientError, StatusError) as error:
                if isinstance(error, StatusError) and error.code < 500:
                    raise
                log.warning("the store does not answer yet: %s", error)
            await asyncio.sleep(BOOTSTRAP_RETRY_S)

    async def _request_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            for store in self.stores.values():
                await store.cache.request_progress()


def _listen_ahead(address: str, port: int) -> socket.socket:
    """Bind an address that no link has yet: the bridge comes with the first pod (ip(7))."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


def _conversions(row: Resource) -> tuple[Conversion | None, Conversion | None]:
    """Return the row's conversions to and from the stored version, None where it is the same."""
    strategy = row.strategy
    if type(strategy).from_storage is Strategy.from_storage:
        return None, None
    return strategy.to_storage, strategy.from_storage
