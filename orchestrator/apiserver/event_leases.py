"""Leases that let Event objects expire, shared so that thousands of events need few."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator.api.json_object import JsonObject
from orchestrator.apiserver.request_context import RequestContext
from orchestrator.apiserver.storage import Claims
from raftkv.client import Client

LEASE_OBJECTS_MAX = 1000
LEASE_REUSE_S = 60.0
"""A lease takes events for this long, so an event lives up to this much longer than its TTL."""


class EventLeases:
    """The companions of Event: a lease for each new object. `clock` gives monotonic seconds."""

    completing = False

    def __init__(self, client: Client, ttl_s: int, clock: Callable[[], float]) -> None:
        self._client = client
        self._ttl_s = ttl_s
        self._clock = clock
        self._lease_id = 0
        self._objects = 0
        self._granted_at = 0.0
        self._granting = asyncio.Lock()

    async def lease(self, context: RequestContext) -> int:
        async with self._granting:
            old = self._clock() - self._granted_at >= LEASE_REUSE_S
            if not self._lease_id or old or self._objects >= LEASE_OBJECTS_MAX:
                answer = await self._client.lease_grant(self._ttl_s + int(LEASE_REUSE_S))
                self._lease_id, self._objects = answer.ID, 0
                self._granted_at = self._clock()
            self._objects += 1
            return self._lease_id

    async def claims(
        self, context: RequestContext, new: JsonObject | None, old: JsonObject | None
    ) -> Claims | None:
        return None
