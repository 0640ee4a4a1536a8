"""Do something until it ends or a signal asks for the end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["first_of", "stop_signal"]


@contextmanager
def stop_signal() -> Iterator[asyncio.Event]:
    """Give an event that SIGINT or SIGTERM sets, instead of ending the process."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def first_of(*works: Coroutine[Any, Any, Any]) -> int:
    """Run all until one ends, then cancel the others; returns its place. Raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = next(at for at, task in enumerate(tasks) if task.done())
        tasks[ended].result()
        return ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
