"""Typed surface of the watch hub; see watch_hub.pyx for the idea."""

from collections.abc import Callable
from typing import final

from raftkv._native.event_source import EventSource, Sink

def prefix_end(prefix: bytes) -> bytes: ...

@final
class Watcher:
    @property
    def watch_id(self) -> int: ...
    @property
    def key(self) -> bytes: ...
    @property
    def range_end(self) -> bytes: ...
    @property
    def next_revision(self) -> int: ...
    @property
    def synced(self) -> bool: ...

@final
class WatchStream:
    def create(
        self,
        key: bytes,
        range_end: bytes,
        start_revision: int,
        *,
        prev_kv: bool = ...,
        no_put: bool = ...,
        no_delete: bool = ...,
        progress_notify: bool = ...,
        watch_id: int = ...,
        fragment: bool = ...,
    ) -> None: ...
    def watched(self) -> list[tuple[int, bytes, bytes]]: ...
    def cancel(self, watch_id: int, reason: bytes = b"") -> None: ...
    def request_progress(self) -> None: ...
    def drained(self) -> None: ...
    def close(self) -> None: ...

@final
class WatchHub:
    raft_term: int
    def __init__(
        self,
        store: EventSource,
        on_work: Callable[[], object],
        *,
        cluster_id: int,
        member_id: int,
        budget_bytes: int = ...,
        step_bytes: int = ...,
        fragment_bytes: int = ...,
    ) -> None:
        """`on_work` is called when `pump` has something to do after it had nothing.

        `budget_bytes`: what a sink may have pending before its watchers fall back to history;
        `step_bytes`: events read from the store at once; `fragment_bytes`: where a response is cut.
        """
    def open(self, sink: Sink) -> WatchStream: ...
    def publish(self) -> None: ...
    def replay(self) -> None:
        """Go on from history: the store was replaced by a later state (a snapshot)."""
    def pump(self) -> bool: ...
    def notify_progress(self) -> None: ...
    @property
    def revision(self) -> int: ...
    @property
    def synced_count(self) -> int: ...
    @property
    def watcher_count(self) -> int: ...
    @property
    def stream_count(self) -> int: ...
    @property
    def slow_count(self) -> int: ...
    @property
    def events_sent(self) -> int: ...
