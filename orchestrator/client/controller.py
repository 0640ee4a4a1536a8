"""Run a reconciler: workers take keys from a queue, and what happened decides about the retry."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from orchestrator.api.errors import StatusError
from orchestrator.client.errors import ServerUnreachableError, TerminalError
from orchestrator.client.work_queue import ShutDownError, WorkQueue

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

WORKERS_DEFAULT: Final = 4


@dataclass(frozen=True, slots=True)
class Done:
    """The actual state is the desired one; nothing to do until something changes."""


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """Look again after this time, if no change brings the key back earlier."""

    seconds: float


Result = Done | RequeueAfter
DONE: Final = Done()


class Controller(Generic[Key]):
    """N workers over one queue; a key is in one worker at a time.

    `reconcile` may be called at any time, for keys that no longer exist, and twice for the same
    change: it reads everything anew. An error repeats the key with backoff; TerminalError does not.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[Key], Awaitable[Result]],
        *,
        workers: int = WORKERS_DEFAULT,
        queue: WorkQueue[Key] | None = None,
    ) -> None:
        self.name = name
        self.queue: WorkQueue[Key] = WorkQueue() if queue is None else queue
        self._reconcile = reconcile
        self._workers = workers

    async def run(self) -> None:
        """Work until cancelled, or until the queue is shut down and empty."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name}/{number}")

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDownError:
                return
            try:
                await self._reconcile_once(key)
            finally:
                self.queue.done(key)

    async def _reconcile_once(self, key: Key) -> None:
        try:
            result = await self._reconcile(key)
        except TerminalError:
            log.exception("%s: %s failed for good", self.name, key)
            self.queue.forget(key)
        except Exception as exc:
            self._log_failure(key, exc)
            self.queue.add_rate_limited(key)
        else:
            self.queue.forget(key)
            if isinstance(result, RequeueAfter):
                self.queue.add_after(key, result.seconds)

    def _log_failure(self, key: Key, exc: Exception) -> None:
        """Lost races and an absent server are everyday; anything else deserves its traceback."""
        if isinstance(exc, StatusError) and exc.code in (404, 409):
            log.debug("%s: %s lost a race, retry: %s", self.name, key, exc)
        elif isinstance(exc, StatusError | ServerUnreachableError):
            log.warning("%s: %s failed, retry: %s", self.name, key, exc)
        else:
            log.error("%s: %s failed, retry", self.name, key, exc_info=exc)
