"""The work queue keeps client-go's promises, under a clock that the test moves."""

import asyncio

import pytest

from orchestrator.client.backoff import BackoffPolicy
from orchestrator.client.work_queue import ShutDownError, WorkQueue


class ManualClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_queue() -> tuple[WorkQueue[str], ManualClock]:
    clock = ManualClock()
    return WorkQueue(clock, BackoffPolicy(initial_s=1, maximum_s=60)), clock


async def take(queue: WorkQueue[str]) -> str | None:
    """The next key, or None when nothing can be taken now."""
    taken = asyncio.ensure_future(queue.get())
    for _ in range(5):
        await asyncio.sleep(0)
    if taken.done():
        return taken.result()
    taken.cancel()
    return None


async def test_a_key_added_twice_is_worked_on_once() -> None:
    queue, _ = make_queue()
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert [await take(queue), await take(queue), await take(queue)] == ["a", "b", None]


async def test_a_key_is_in_one_worker_at_a_time() -> None:
    queue, _ = make_queue()
    queue.add("a")
    assert await take(queue) == "a"
    queue.add("a")
    assert await take(queue) is None
    queue.done("a")
    assert await take(queue) == "a"
    queue.done("a")
    assert await take(queue) is None


async def test_done_without_get_is_a_bug() -> None:
    queue, _ = make_queue()
    with pytest.raises(AssertionError):
        queue.done("a")


async def test_delayed_keys_come_in_the_order_of_their_times() -> None:
    queue, clock = make_queue()
    queue.add_after("late", 10)
    queue.add_after("early", 5)
    assert await take(queue) is None
    clock.now += 5
    assert await take(queue) == "early"
    assert await take(queue) is None
    clock.now += 5
    assert await take(queue) == "late"


async def test_of_several_delays_the_shortest_counts_once() -> None:
    queue, clock = make_queue()
    queue.add_after("a", 10)
    queue.add_after("a", 2)
    queue.add_after("a", 7)
    clock.now += 2
    assert await take(queue) == "a"
    queue.done("a")
    clock.now += 20
    assert await take(queue) is None


async def test_rate_limit_doubles_until_forgotten() -> None:
    queue, clock = make_queue()
    for wait_s in (1, 2, 4, 8):
        queue.add_rate_limited("a")
        clock.now += wait_s - 0.001
        assert await take(queue) is None
        clock.now += 0.001
        assert await take(queue) == "a"
        queue.done("a")
    assert queue.num_requeues("a") == 4
    queue.forget("a")
    queue.add_rate_limited("a")
    clock.now += 1
    assert await take(queue) == "a"


async def test_shut_down_drains_what_is_ready_and_drops_what_waits() -> None:
    queue, _ = make_queue()
    queue.add("a")
    queue.add_after("b", 1)
    queue.shut_down()
    queue.add("c")
    assert await take(queue) == "a"
    with pytest.raises(ShutDownError):
        await queue.get()


async def test_waiting_workers_wake_for_delayed_keys() -> None:
    """A worker that already waits is woken by a shorter delay than the one it waits for."""
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("slow", 60)
    async with asyncio.timeout(2):
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.add_after("quick", 0.01)
        assert await waiting == "quick"
