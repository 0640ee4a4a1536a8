"""The event loop that one simulated member lives on.

All members' loops share one scheduler; each has a clock of its own, which may run fast or slow, and
may stand still for a while (a paused process) or for good (a crashed one).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from math import ceil
from typing import Any, Protocol, TypeVar, cast

from raftkv.testing.sim.scheduler import SECOND, Scheduler, SimulatedHandle

__all__ = ["MemberLoop", "ProcessEnded"]

_T = TypeVar("_T")

THREAD_US = 200
"""How long work takes that was handed to a thread."""


class ProcessEnded(BaseException):
    """The process is gone, here and now: nothing behind this point is done."""


class Threads(Protocol):
    """What work in threads costs, and does."""

    def delay_us(self, work: Callable[..., Any], arguments: tuple[Any, ...], /) -> int: ...
    def work(self, work: Callable[..., Any], arguments: tuple[Any, ...], /) -> Any: ...


class MemberLoop:
    """As much of an asyncio event loop as members use, in simulated time.

    It is no `AbstractEventLoop`: what it lacks shall fail by name, not by NotImplementedError.
    """

    def __init__(
        self, scheduler: Scheduler, *, rate: float, after_event: Callable[[], None]
    ) -> None:
        """`rate`: seconds of this clock in a second; `after_event` is called after each event."""
        self._scheduler = scheduler
        self._rate = rate
        self._anchor_us = scheduler.now_us
        self._anchor_s = 1000.0
        """The clock's time at `_anchor_us`; it begins anywhere but at zero."""
        self._after_event = after_event
        self._closed = False
        self._paused = False
        self._held: list[SimulatedHandle] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}
        """In the order of their beginning, which is the same in every run."""
        self.threads: Threads | None = None
        """Where work in threads meets the disk."""
        self.on_process_end: Callable[[], None] = lambda: None
        """Called when what was running ended the process."""
        self.failure: BaseException | None = None
        """What a task of the member raised and nobody looked at."""

    @property
    def as_asyncio(self) -> asyncio.AbstractEventLoop:
        """This loop, as asyncio's functions want it."""
        return cast(asyncio.AbstractEventLoop, self)

    # --- the clock -----------------------------------------------------------------------------

    def time(self) -> float:
        """Return this member's monotonic clock, in seconds."""
        return self._anchor_s + (self._scheduler.now_us - self._anchor_us) * self._rate / SECOND

    def set_rate(self, rate: float) -> None:
        """Have the clock run faster or slower from now on."""
        self._anchor_s = self.time()
        self._anchor_us = self._scheduler.now_us
        self._rate = rate

    def pause(self) -> None:
        """Stop the process, as SIGSTOP does: its clock goes on, nothing else does."""
        self._paused = True

    def resume(self) -> None:
        """Let the process go on, with all that was due meanwhile, in order."""
        self._paused = False
        held, self._held = self._held, []
        for handle in held:
            self._scheduler.put(self._scheduler.now_us, handle)

    @property
    def is_paused(self) -> bool:
        """Whether the process stands still."""
        return self._paused

    # --- running -------------------------------------------------------------------------------

    def run(self, handle: SimulatedHandle) -> None:
        """Do what is due, with this loop as the running one."""
        if self._closed:
            return
        if self._paused:
            self._held.append(handle)
            return
        asyncio._set_running_loop(self.as_asyncio)
        has_ended = False
        try:
            handle.call()
        except ProcessEnded:
            has_ended = True
        finally:
            asyncio._set_running_loop(None)
        if has_ended:
            self.on_process_end()
        else:
            self._after_event()

    def enter(self, call: Callable[[], _T]) -> _T:
        """Call something at once, with this loop as the running one."""
        asyncio._set_running_loop(self.as_asyncio)
        try:
            return call()
        finally:
            asyncio._set_running_loop(None)

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        """Have something done in this moment, after what is due already."""
        handle = SimulatedHandle(self, callback, args, context)
        if not self._closed:
            self._scheduler.put(self._scheduler.now_us, handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        """Have something done after so many seconds of this clock."""
        handle = SimulatedHandle(self, callback, args, context, self.time() + delay)
        if not self._closed:
            wait_us = max(0, ceil(delay * SECOND / self._rate))
            self._scheduler.put(self._scheduler.now_us + wait_us, handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        """Have something done at a time of this clock."""
        return self.call_later(when - self.time(), callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self.as_asyncio)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Run a coroutine; what it raises unseen is kept in `failure`."""
        task: asyncio.Task[Any] = asyncio.Task(
            coro, loop=self.as_asyncio, name=name, context=context
        )
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Call a blocking function, in no other thread, a little later."""
        future = self.create_future()

        def work() -> None:
            if future.done():
                return
            try:
                threads = self.threads
                future.set_result(func(*args) if threads is None else threads.work(func, args))
            except Exception as error:
                future.set_exception(error)

        delay_us = THREAD_US + (self.threads.delay_us(func, args) if self.threads else 0)
        self._scheduler.put(
            self._scheduler.now_us + delay_us, SimulatedHandle(self, work, (), None)
        )
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep the first error that nobody looked at; a dead process has none."""
        error = context.get("exception")
        if not self._closed and self.failure is None and error is not None:
            self.failure = error

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Do as `call_exception_handler` does."""
        self.call_exception_handler(context)

    def close(self) -> None:
        """End the process: nothing that it waits for will happen. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._held.clear()
        for task in list(self._tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Coroutine[Any, Any, Any] | Any = task.get_coro()
            try:
                coroutine.close()
            except (RuntimeError, asyncio.CancelledError):
                continue  # it would not end: it is forgotten like everything else
        self._tasks.clear()

    def is_running(self) -> bool:
        """Say that it runs, as long as it does."""
        return not self._closed

    def is_closed(self) -> bool:
        """Say whether the process has ended."""
        return self._closed

    def get_debug(self) -> bool:
        """Never debug."""
        return False
