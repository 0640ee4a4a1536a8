"""The scheduling queue under a clock that the test moves."""

import asyncio
from typing import Any

from orchestrator.api.json_object import JsonObject
from orchestrator.scheduler.scheduling_queue import FLUSH_S, QueuedPod, SchedulingQueue


class ManualClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pod(name: str, **spec: Any) -> JsonObject:
    return {"metadata": {"name": name, "uid": name}, "spec": spec}


async def take(queue: SchedulingQueue) -> QueuedPod | None:
    taken = asyncio.ensure_future(queue.take())
    for _ in range(5):
        await asyncio.sleep(0)
    if taken.done():
        return taken.result()
    taken.cancel()
    return None


async def name_of_next(queue: SchedulingQueue) -> str | None:
    queued = await take(queue)
    return None if queued is None else queued.pod["metadata"]["name"]


async def test_priority_then_arrival() -> None:
    queue = SchedulingQueue(ManualClock())
    for name, priority in (("a", 0), ("b", 10), ("c", 0), ("d", 10)):
        queue.add(pod(name, priority=priority))
    assert [await name_of_next(queue) for _ in range(5)] == ["b", "d", "a", "c", None]


async def test_an_unschedulable_pod_waits_for_a_change_and_its_back_off() -> None:
    clock = ManualClock()
    queue = SchedulingQueue(clock)
    queue.add(pod("a"))
    for wait_s in (1, 2, 4, 8, 10, 10):
        queued = await take(queue)
        assert queued is not None
        queue.failed(queued)
        clock.now += 0.5
        assert await take(queue) is None
        queue.cluster_changed()
        assert await take(queue) is None
        clock.now += wait_s - 0.5
        assert len(queue) == 1


async def test_a_change_during_the_attempt_is_not_lost() -> None:
    clock = ManualClock()
    queue = SchedulingQueue(clock)
    queue.add(pod("a"))
    queued = await take(queue)
    assert queued is not None
    queue.cluster_changed()
    queue.failed(queued)
    clock.now += 1
    assert await name_of_next(queue) == "a"


async def test_without_any_change_it_is_tried_after_the_flush() -> None:
    clock = ManualClock()
    queue = SchedulingQueue(clock)
    queue.add(pod("a"))
    queued = await take(queue)
    assert queued is not None
    queue.failed(queued)
    clock.now += FLUSH_S - 1
    assert await take(queue) is None
    clock.now += 1
    assert await name_of_next(queue) == "a"


async def test_a_removed_pod_does_not_come_back() -> None:
    clock = ManualClock()
    queue = SchedulingQueue(clock)
    queue.add(pod("a"))
    queued = await take(queue)
    assert queued is not None
    queue.remove("a")
    queue.failed(queued)
    queue.retry(queued)
    clock.now += 1000
    assert await take(queue) is None
    assert len(queue) == 0
