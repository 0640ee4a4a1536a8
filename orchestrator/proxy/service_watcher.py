"""Follow Services and EndpointSlices, and hand the ports they make to a proxy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from orchestrator.api.resources import ENDPOINT_SLICE, SERVICE
from orchestrator.client.informer import EventHandler, Informer
from orchestrator.client.rest_client import RestClient
from orchestrator.proxy.service_map import ServicePort, service_ports

log = logging.getLogger(__name__)

SYNC_INTERVAL_S_MIN = 0.02
"""Changes that come within this time are one."""

RETRY_INTERVAL_S = 2.0


class ServiceWatcher:
    """Calls `apply` with all service ports, once at first and again after every change."""

    def __init__(
        self, client: RestClient, apply: Callable[[list[ServicePort]], Awaitable[None]]
    ) -> None:
        self._apply = apply
        self._changed = asyncio.Event()
        self._services = Informer(client, SERVICE)
        self._slices = Informer(client, ENDPOINT_SLICE)
        self.synced = asyncio.Event()
        """Set once `apply` has succeeded the first time."""
        for informer in (self._services, self._slices):
            informer.add_handler(EventHandler.for_any(lambda _: self._changed.set()))

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services.run(), name="proxy/services")
            group.create_task(self._slices.run(), name="proxy/endpoint-slices")
            await self._services.wait_synced()
            await self._slices.wait_synced()
            while True:
                self._changed.clear()
                await self._sync()
                await self._changed.wait()
                await asyncio.sleep(SYNC_INTERVAL_S_MIN)

    async def _sync(self) -> None:
        ports = service_ports(self._services.store.list(), self._slices.store.list())
        try:
            await self._apply(ports)
        except OSError as error:
            log.error("cannot apply services, will retry: %s", error)
        except Exception:
            log.exception("cannot apply services, will retry")
        else:
            self.synced.set()
            return
        await asyncio.sleep(RETRY_INTERVAL_S)
        self._changed.set()
