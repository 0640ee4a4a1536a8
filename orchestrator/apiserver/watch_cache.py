"""One watch of the store per kind of object, fanned out to every client that watches.

The cache holds the present state of one prefix and a bounded **window** of its latest events. A
client that watches from revision N gets the window's events after N, then live ones; when N is
older than the window it must list again (Expired). All watchers of an event share its object, which
is parsed only where a selector or a table asks (see `stored`).

Rules that keep watches free of gaps and repeats:

- events enter the window in revision order, from one task, which resumes the store's watch after
  the last revision that it saw; if that revision has been compacted, the state is listed anew and
  every watcher is ended, since it may have missed something;
- a watcher has its own start revision and takes only later events, so a list read from the store at
  revision R joins the cache's events exactly, even while the cache is still behind R;
- a watcher whose queue overflows is ended, not delayed: its client watches again from the last
  revision that it received. Nothing here waits for a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeAlias

from orchestrator.api import errors
from orchestrator.apiserver.storage import Storage
from orchestrator.apiserver.stored import Stored, Undecodable
from raftkv.client import ClientError, CompactedError, Watch, prefix_range_end
from raftkv.pb.etcd import kv_pb2

log = logging.getLogger(__name__)

RETRY_WAIT_S = 0.2
RETRY_WAIT_S_MAX = 5.0
LIST_PAGE_ITEMS = 10_000
READY_WAIT_S = 10.0


class Expired(Exception):
    """The window no longer reaches back to the revision asked for."""

    def __init__(self, requested: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {requested} ({oldest})")


@dataclass(slots=True)
class Event:
    """One change of one object: `current` is None for a deletion, `previous` for a creation."""

    key: bytes
    revision: int
    current: Stored | None
    previous: Stored | None
    _last: Stored | None = field(default=None, repr=False)

    @property
    def last(self) -> Stored:
        """The object as it was before, with the revision of this change: what DELETED shows."""
        if self._last is None:
            assert self.previous is not None
            self._last = self.previous.at(self.revision)
        return self._last


Wants: TypeAlias = Callable[[Event], bool]
"""Whether a watcher is to have an event."""


def encode_line(kind: str, encoded: bytes) -> bytes:
    """Wrap an encoded object as one line of a watch stream."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), encoded)


class Watcher:
    """A queue of the events after a revision that it wants; `ended` once it fell out.

    Iterate by `next_events`. The owner calls `close`.
    """

    def __init__(
        self, after: int, wants: Wants, queue_max: int, forget: Callable[[Watcher], None]
    ) -> None:
        self.after = after
        self._wants = wants
        self.ended = False
        self._queue: deque[Event] = deque()
        self._queue_max = queue_max
        self._forget = forget
        self._waiting: asyncio.Future[None] | None = None

    def offer(self, event: Event) -> None:
        """Queue an event, or end this watcher when the queue is full."""
        if event.revision <= self.after or self.ended or not self._wants(event):
            return
        if len(self._queue) >= self._queue_max:
            self.end()
            return
        self._queue.append(event)
        self._wake()

    def end(self) -> None:
        """Deliver nothing more; what is queued is dropped, as the client will resume before it."""
        self.ended = True
        self._queue.clear()
        self._forget(self)
        self._wake()

    close = end

    async def next_events(self, timeout_s: float) -> list[Event]:
        """Wait for events and take all that are queued; empty after the timeout or the end."""
        if not self._queue and not self.ended:
            self._waiting = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._waiting
            self._waiting = None
        events = list(self._queue)
        self._queue.clear()
        return events

    @property
    def idle(self) -> bool:
        return not self._queue

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class WatchCache:
    """State and window of the objects under one prefix.

    `ensure_started` before anything else; `stop` ends the task and all watchers.
    """

    def __init__(self, storage: Storage, prefix: bytes, *, window_max: int, queue_max: int) -> None:
        self._storage = storage
        self.prefix = prefix
        self._queue_max = queue_max
        self._state: dict[bytes, Stored] = {}
        self._window: deque[Event] = deque()
        self._window_max = window_max
        self._oldest = 0  # events at or before this revision are not in the window
        self.revision = 0
        """All events up to here have been seen."""
        self._watchers: dict[Watcher, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._watch: Watch | None = None
        self._stopped = False

    async def ensure_started(self) -> None:
        """Start on first use, and wait until the state has been listed.

        StatusError 503 when the store does not let it be for READY_WAIT_S, or after `stop`.
        """
        if self._stopped:
            raise errors.service_unavailable("the server is shutting down")
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"watch-cache {self.prefix!r}")
        if not self._ready.is_set():
            try:
                async with asyncio.timeout(READY_WAIT_S):
                    await self._ready.wait()
            except TimeoutError:
                text = f"the objects under {self.prefix.decode()} could not be listed yet"
                raise errors.service_unavailable(text) from None

    async def stop(self) -> None:
        self._stopped = True
        for watcher in tuple(self._watchers):
            watcher.end()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def known(self, key: bytes, revision: int) -> Stored | None:
        """Return the object if the cache holds it at exactly that revision."""
        stored = self._state.get(key)
        return stored if stored is not None and stored.revision == revision else None

    def get(self, key: bytes) -> Stored | None:
        """Return the object as the cache knows it, perhaps behind the store."""
        return self._state.get(key)

    def snapshot(self, prefix: bytes) -> list[Stored]:
        """Return all objects under `prefix` in key order. Cost: a sort of their keys."""
        keys = sorted(key for key in self._state if key.startswith(prefix))
        return [self._state[key] for key in keys]

    @property
    def watcher_count(self) -> int:
        return len(self._watchers)

    def watch(self, after: int, wants: Wants) -> Watcher:
        """Register a watcher of events later than `after`; Expired when the window is too short.

        `wants` is asked once for each event, before it is queued: a watcher sleeps through
        what does not concern it, which is what makes thousands of watchers of one kind cheap.
        """
        if after < self._oldest:
            raise Expired(after, self._oldest)
        watcher = Watcher(after, wants, self._queue_max, self._drop)
        self._watchers[watcher] = None
        missed = list(takewhile(lambda event: event.revision > after, reversed(self._window)))
        for event in reversed(missed):
            watcher.offer(event)
        return watcher

    async def request_progress(self) -> None:
        """Ask the store how far it is, so that bookmarks of quiet resources move on."""
        if self._watch is not None:
            with contextlib.suppress(ClientError, asyncio.InvalidStateError):
                await self._watch.request_progress()

    def _drop(self, watcher: Watcher) -> None:
        self._watchers.pop(watcher, None)

    async def _run(self) -> None:
        """List, then follow, for ever.

        A store's watch that has to resume does so after the last event that it delivered. When
        that is compacted, progress may have told us of a later revision that is not.
        """
        wait_s = RETRY_WAIT_S
        listed = False
        while True:
            started_at = self.revision
            try:
                if not listed:
                    await self._relist()
                    listed, started_at = True, self.revision
                wait_s = RETRY_WAIT_S
                await self._follow()
            except CompactedError:
                listed = self.revision > started_at
                if not listed:
                    log.warning("watch fell behind compaction, listing again", extra=self._fields)
                continue
            except (ClientError, Undecodable) as error:
                log.warning("cannot follow the store: %s", error, extra=self._fields)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_WAIT_S_MAX)

    @property
    def _fields(self) -> dict[str, str]:
        return {"prefix": self.prefix.decode()}

    async def _relist(self) -> None:
        state: dict[bytes, Stored] = {}
        start, revision, more = b"", 0, True
        while more:
            page = await self._storage.list(
                self.prefix, start=start, limit=LIST_PAGE_ITEMS, revision=revision, known=self
            )
            revision, more = revision or page.revision, page.more
            for stored in page.items:
                state[stored.key] = stored
            if page.items:
                start = page.items[-1].key + b"\0"
        for watcher in tuple(self._watchers):
            watcher.end()
        self._window.clear()
        self._state = state
        self._oldest = self.revision = revision
        self._ready.set()

    async def _follow(self) -> None:
        watch = self._storage.client.watch(
            self.prefix,
            prefix_range_end(self.prefix),
            start_revision=self.revision + 1,
            progress_notify=True,
        )
        async with watch:
            self._watch = watch
            try:
                async for response in watch:
                    for event in response.events:
                        self._apply(event)
                    if response.events:
                        self.revision = max(self.revision, response.events[-1].kv.mod_revision)
                    else:
                        self.revision = max(self.revision, response.header.revision)
                    self._storage.clock.seen(self.revision)
            finally:
                self._watch = None

    def _apply(self, change: kv_pb2.Event) -> None:
        pair = change.kv
        previous = self._state.get(pair.key)
        if change.type == kv_pb2.Event.DELETE:
            if previous is None:
                return
            del self._state[pair.key]
            event = Event(pair.key, pair.mod_revision, None, previous)
        else:
            current = self._storage.decode(pair)
            self._state[pair.key] = current
            event = Event(pair.key, pair.mod_revision, current, previous)
        self._window.append(event)
        if len(self._window) > self._window_max:
            self._oldest = self._window.popleft().revision
        for watcher in tuple(self._watchers):
            watcher.offer(event)
