"""Pods that wait for a node: ready to try, in back-off, or waiting for the cluster to change."""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from orchestrator.api.json_object import JsonObject
from orchestrator.client.backoff import BackoffPolicy

BACKOFF: Final = BackoffPolicy(initial_s=1.0, maximum_s=10.0)
FLUSH_S: Final = 300.0
"""A pod that no change has brought back is tried again after this, in case a hint was missed."""


@dataclass(slots=True)
class QueuedPod:
    """A pod in the queue. Invariant: it is in exactly one of the three places, or being tried."""

    pod: JsonObject
    sequence: int
    attempts: int = 0
    place: str = "active"
    failed_at_s: float = 0.0
    changes_seen: int = 0
    """The queue's change count when the attempt began: a later change makes it worth another."""

    @property
    def order(self) -> tuple[int, int]:
        """Higher priority first, then first come, first served."""
        return (-(self.pod["spec"].get("priority") or 0), self.sequence)


class SchedulingQueue:
    """Three places: active by priority, back-off by time, unschedulable until something helps.

    For one event loop and one taker. `clock` gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[tuple[int, int], str]] = []
        self._waiting: list[tuple[float, str]] = []
        """(due, uid) of pods in back-off, and of unschedulable ones for their flush."""
        self._unschedulable: dict[str, QueuedPod] = {}
        self._sequence = 0
        self._change_count = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Count the pods in all places."""
        return len(self._pods)

    def add(self, pod: JsonObject) -> None:
        """Queue a pod, or take its new state; a changed unschedulable pod is tried again."""
        uid = pod["metadata"]["uid"]
        known = self._pods.get(uid)
        if known is None:
            self._sequence += 1
            known = self._pods[uid] = QueuedPod(pod, self._sequence)
            self._activate(known)
            return
        changed = known.pod["spec"] != pod["spec"] or _labels(known.pod) != _labels(pod)
        known.pod = pod
        if changed and known.place == "unschedulable":
            del self._unschedulable[uid]
            self._back_off(known)

    def remove(self, uid: str) -> None:
        """Drop a pod that was bound or deleted; entries in the heaps are skipped later."""
        self._pods.pop(uid, None)
        self._unschedulable.pop(uid, None)

    def cluster_changed(self) -> None:
        """Something changed that could make room: unschedulable pods are worth another try."""
        self._change_count += 1
        for queued in self._unschedulable.values():
            self._back_off(queued)
        self._unschedulable.clear()

    async def take(self) -> QueuedPod:
        """Wait for the next pod to try; the caller owes `failed`, `retry` or `remove`."""
        while True:
            self._move_due()
            queued = self._pop_active()
            if queued is not None:
                queued.place = "trying"
                queued.attempts += 1
                queued.changes_seen = self._change_count
                return queued
            await self._wait()

    def failed(self, queued: QueuedPod) -> None:
        """No node can take the pod now: wait for a change, or try again if one came meanwhile."""
        uid = queued.pod["metadata"]["uid"]
        if self._pods.get(uid) is not queued:
            return
        queued.failed_at_s = self._clock()
        if queued.changes_seen != self._change_count:
            self._back_off(queued)
            return
        queued.place = "unschedulable"
        self._unschedulable[uid] = queued
        self._wait_until(queued.failed_at_s + FLUSH_S, uid)

    def retry(self, queued: QueuedPod) -> None:
        """The attempt failed for a reason that may pass, such as a lost race: back off."""
        if self._pods.get(queued.pod["metadata"]["uid"]) is queued:
            queued.failed_at_s = self._clock()
            self._back_off(queued)

    def _back_off(self, queued: QueuedPod) -> None:
        due_s = queued.failed_at_s + BACKOFF.wait_s(max(0, queued.attempts - 1))
        if due_s <= self._clock():
            self._activate(queued)
            return
        queued.place = "backoff"
        self._wait_until(due_s, queued.pod["metadata"]["uid"])

    def _wait_until(self, due_s: float, uid: str) -> None:
        heapq.heappush(self._waiting, (due_s, uid))
        self._wake.set()

    def _activate(self, queued: QueuedPod) -> None:
        queued.place = "active"
        heapq.heappush(self._active, (queued.order, queued.pod["metadata"]["uid"]))
        self._wake.set()

    def _pop_active(self) -> QueuedPod | None:
        while self._active:
            _, uid = heapq.heappop(self._active)
            queued = self._pods.get(uid)
            if queued is not None and queued.place == "active":
                return queued
        return None

    def _move_due(self) -> None:
        now = self._clock()
        while self._waiting and self._waiting[0][0] <= now:
            _, uid = heapq.heappop(self._waiting)
            queued = self._pods.get(uid)
            if queued is None or queued.place not in ("backoff", "unschedulable"):
                continue
            if queued.place == "backoff" or now >= queued.failed_at_s + FLUSH_S:
                self._unschedulable.pop(uid, None)
                self._activate(queued)

    async def _wait(self) -> None:
        self._wake.clear()
        delay_s = self._waiting[0][0] - self._clock() if self._waiting else None
        try:
            async with asyncio.timeout(delay_s):
                await self._wake.wait()
        except TimeoutError:
            pass


def _labels(pod: JsonObject) -> JsonObject:
    labels: JsonObject = pod["metadata"].get("labels") or {}
    return labels
