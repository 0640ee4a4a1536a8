"""Simulated time: a heap of things that happen, in order of time and then of arrival.

Time is a whole number of microseconds since the run began; it jumps from event to event.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

__all__ = ["MS", "SECOND", "Owner", "Scheduler", "SimulatedHandle"]

MS = 1000
"""Microseconds of a millisecond."""

SECOND = 1_000_000
"""Microseconds of a second."""


class Owner(Protocol):
    """In whose name something happens: it decides whether and how."""

    def run(self, handle: SimulatedHandle, /) -> None: ...


class SimulatedHandle:
    """One thing that will happen, unless cancelled. Serves as asyncio's Handle and TimerHandle."""

    __slots__ = ("_cancelled", "_when", "args", "callback", "context", "owner")

    def __init__(
        self,
        owner: Owner | None,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: Context | None = None,
        when: float = 0.0,
    ) -> None:
        """`when` is on the clock of the owner's loop, for `when()` alone."""
        self.owner = owner
        self.callback = callback
        self.args = args
        self.context = context
        self._when = when
        self._cancelled = False

    def cancel(self) -> None:
        """Have it not happen."""
        self._cancelled = True

    def cancelled(self) -> bool:
        """Say whether `cancel` was called."""
        return self._cancelled

    def when(self) -> float:
        """Return when it was to happen, in seconds of the owner's clock."""
        return self._when

    def call(self) -> None:
        """Do it now."""
        if self.context is None:
            self.callback(*self.args)
        else:
            self.context.run(self.callback, *self.args)


EVENTS_MAX = 400_000
"""More than any run of sound members needs; one that exceeds it is stuck in a circle."""


class TooManyEvents(AssertionError):
    """A run does not end."""


class Scheduler:
    """Everything that is going to happen in one run."""

    def __init__(self) -> None:
        self.now_us = 0
        self.event_count = 0
        self._heap: list[tuple[int, int, SimulatedHandle]] = []
        self._sequence = 0

    def put(self, time_us: int, handle: SimulatedHandle) -> None:
        """Have a handle called at a time, which must not be past."""
        assert time_us >= self.now_us, "the past cannot be changed"
        self._sequence += 1
        heapq.heappush(self._heap, (time_us, self._sequence, handle))

    def later(self, delay_us: int, callback: Callable[..., Any], *args: Any) -> SimulatedHandle:
        """Call something of the world itself after a delay."""
        handle = SimulatedHandle(None, callback, args)
        self.put(self.now_us + delay_us, handle)
        return handle

    def run_until(self, done: Callable[[], bool], end_us: int) -> bool:
        """Let time pass until `done()` or `end_us`; returns whether it was done.

        `done` is asked after every event.
        """
        heap = self._heap
        while not done():
            if not heap or heap[0][0] > end_us:
                self.now_us = max(self.now_us, end_us)
                return False
            self.now_us, _, handle = heapq.heappop(heap)
            if handle._cancelled:
                continue
            self.event_count += 1
            if self.event_count > EVENTS_MAX:
                raise TooManyEvents(f"{EVENTS_MAX} events in {self.now_us / SECOND:.1f} s")
            if handle.owner is None:
                handle.call()
            else:
                handle.owner.run(handle)
        return True
