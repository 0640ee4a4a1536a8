"""What a reconciler returns or raises decides whether its key comes back."""

import asyncio
import logging

import pytest

from orchestrator.client.backoff import BackoffPolicy
from orchestrator.client.controller import DONE, Controller, RequeueAfter, Result
from orchestrator.client.errors import TerminalError
from orchestrator.client.work_queue import WorkQueue


async def outcomes(script: list[Result | Exception], expected_calls: int) -> int:
    """Run one key through the script; return its calls once they stop at the expected count."""
    calls = 0
    reached = asyncio.Event()

    async def reconcile(key: str) -> Result:
        nonlocal calls
        calls += 1
        if calls >= expected_calls:
            reached.set()
        step = script[min(calls, len(script)) - 1]
        if isinstance(step, Exception):
            raise step
        return step

    queue: WorkQueue[str] = WorkQueue(retry=BackoffPolicy(initial_s=0.001, maximum_s=0.001))
    controller = Controller("test", reconcile, queue=queue)
    queue.add("key")
    async with asyncio.timeout(5):
        running = asyncio.ensure_future(controller.run())
        await reached.wait()
        while queue.num_requeues("key"):
            await asyncio.sleep(0.001)
        queue.shut_down()
        await running
    return calls


async def test_done_is_not_repeated() -> None:
    assert await outcomes([DONE], 1) == 1


async def test_an_error_is_retried_and_success_ends_it() -> None:
    assert await outcomes([ValueError("no"), ValueError("no"), DONE], 3) == 3


async def test_requeue_after_comes_back() -> None:
    assert await outcomes([RequeueAfter(0.001), DONE], 2) == 2


async def test_a_terminal_error_is_not_retried(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert await outcomes([TerminalError("never"), DONE], 1) == 1
    assert "failed for good" in caplog.text
