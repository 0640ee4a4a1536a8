"""The runtime's pods as last listed; asked for again each second and after every change of ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from orchestrator.kubelet.pod_view import PodContainers
from orchestrator.runtime.protocol import Runtime, RuntimeFailure, SandboxStatus

log = logging.getLogger(__name__)

RETRY_INTERVAL_S = 1.0


class PodCache:
    """One listing serves all who wait for it; `on_change` gets the uid of each pod that differs."""

    def __init__(self, runtime: Runtime, on_change: Callable[[str], None]) -> None:
        self._runtime = runtime
        self._on_change = on_change
        self._pods: dict[str, PodContainers] = {}
        self._lock = asyncio.Lock()
        self._begun = 0

    def get(self, uid: str) -> PodContainers:
        return self._pods.get(uid, PodContainers())

    def uids(self) -> list[str]:
        return list(self._pods)

    async def refresh(self) -> None:
        """Return after a listing that began after this call. Raises RuntimeFailure."""
        seen = self._begun
        async with self._lock:
            # A listing that began since we asked has ended by now: its holder had the lock.
            if self._begun != seen:
                return
            self._begun += 1
            try:
                sandboxes = await self._runtime.list_pods()
            except BaseException:
                self._begun -= 1
                raise
            self._take(sandboxes)

    async def run(self) -> None:
        """Follow the runtime until cancelled."""
        while True:
            await self._runtime.wait_change()
            try:
                await self.refresh()
            except RuntimeFailure as error:
                log.warning("cannot list the runtime's pods: %s", error)
                await asyncio.sleep(RETRY_INTERVAL_S)

    def _take(self, sandboxes: Sequence[SandboxStatus]) -> None:
        old, self._pods = self._pods, group_by_pod(sandboxes)
        for uid in old.keys() | self._pods.keys():
            if old.get(uid) != self._pods.get(uid):
                self._on_change(uid)


def group_by_pod(sandboxes: Sequence[SandboxStatus]) -> dict[str, PodContainers]:
    """Return uid -> sandboxes, the newest first."""
    by_uid: dict[str, list[SandboxStatus]] = {}
    for sandbox in sandboxes:
        by_uid.setdefault(sandbox.uid, []).append(sandbox)
    return {
        uid: PodContainers(
            tuple(sorted(found, key=lambda s: (s.attempt, s.created_at_ns), reverse=True))
        )
        for uid, found in by_uid.items()
    }
