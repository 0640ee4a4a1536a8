"""Keys to work on, each at most once at a time: the contract of client-go's workqueue.

Fair: keys are worked on in the order in which they were added. Stingy: a key is in one worker at
a time, and added many times before it is taken, it is worked on once. A key added while it is
worked on is worked on again after `done`. Shutting down lets workers drain what is queued.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from orchestrator.client.backoff import BackoffPolicy

Key = TypeVar("Key", bound=Hashable)

RETRY: Final = BackoffPolicy(initial_s=0.005, maximum_s=60.0)
"""First retry after 5 ms, doubling; upstream's ceiling of 1000 s leaves people waiting."""


class ShutDownError(Exception):
    """The queue is shut down and empty: no more work will come."""


class WorkQueue(Generic[Key]):
    """A queue of keys with delays and per-key backoff, for one event loop.

    Bounded by nature: a key is in it once, and keys are names of objects in the cache.
    Invariant: a key is in `_ready` if and only if it is in `_dirty` and not in `_processing`.
    """

    def __init__(
        self, clock: Callable[[], float] | None = None, retry: BackoffPolicy = RETRY
    ) -> None:
        """`clock` gives seconds that never go back; the running loop's time by default."""
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._retry = retry
        self._ready: deque[Key] = deque()
        self._dirty: set[Key] = set()
        self._processing: set[Key] = set()
        self._due_s: dict[Key, float] = {}
        """When a waiting key is due; the heap may hold older, later entries of it."""
        self._heap: list[tuple[float, int, Key]] = []
        self._sequence = 0
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        self._shut_down = False

    def __len__(self) -> int:
        """Count the keys that could be taken now, without those that wait for their time."""
        return len(self._ready)

    def add(self, key: Key) -> None:
        """Have the key worked on; no effect if it is queued already or the queue is shut down."""
        if self._shut_down or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: Key, delay_s: float) -> None:
        """Add the key once `delay_s` has passed; of several waits for a key the shortest counts."""
        if self._shut_down:
            return
        if delay_s <= 0:
            self.add(key)
            return
        due_s = self._clock() + delay_s
        known = self._due_s.get(key)
        if known is not None and known <= due_s:
            return
        self._due_s[key] = due_s
        self._sequence += 1
        heapq.heappush(self._heap, (due_s, self._sequence, key))
        self._wake.set()

    def add_rate_limited(self, key: Key) -> None:
        """Add the key after its backoff, and make the next backoff longer."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, self._retry.wait_s(failures))

    def forget(self, key: Key) -> None:
        """Start the key's backoff anew: its work succeeded, or will not be retried."""
        self._failures.pop(key, None)

    def num_requeues(self, key: Key) -> int:
        """Return how often the key was rate-limited since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> Key:
        """Wait for a key and take it; the caller owes `done(key)`. Raises ShutDownError."""
        while True:
            self._move_due()
            if self._ready:
                break
            if self._shut_down:
                raise ShutDownError
            await self._wait()
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        if self._ready:
            self._wake.set()
        return key

    def done(self, key: Key) -> None:
        """Hand the key back; if it was added meanwhile, it is queued again."""
        assert key in self._processing, f"done({key}) without get"
        self._processing.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake.set()

    def shut_down(self) -> None:
        """Take no more keys; `get` drains what is ready, then raises ShutDownError."""
        self._shut_down = True
        self._heap.clear()
        self._due_s.clear()
        self._wake.set()

    def _move_due(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due_s, _, key = heapq.heappop(self._heap)
            if self._due_s.get(key) == due_s:
                del self._due_s[key]
                self.add(key)

    async def _wait(self) -> None:
        """Wait for an addition or for the next due key. One waiter's wake-up wakes all of them."""
        self._wake.clear()
        delay_s = self._heap[0][0] - self._clock() if self._heap else None
        try:
            async with asyncio.timeout(delay_s):
                await self._wake.wait()
        except TimeoutError:
            pass
