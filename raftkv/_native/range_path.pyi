"""Ranges that nothing is special about, answered without a Python function; see the .pxd."""

from collections.abc import Callable
from typing import Protocol

from raftkv._native.http2_stream import Stream
from raftkv._native.kv_path import KvMember, KvPath
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.waiter import Waiter

_Serve = Callable[[Waiter, bytes], object]

class _Reads(Protocol):
    waiting: list[tuple[_Serve, Waiter, bytes]]
    @property
    def count(self) -> int: ...

class _ReadingMember(KvMember, Protocol):
    @property
    def reads(self) -> _Reads: ...

class _Budget(Protocol):
    def must_wait(self) -> bool: ...
    def spend(self, size: int) -> None: ...

class RangePath(KvPath):
    """The path of KV.Range."""

    def __init__(
        self,
        member: _ReadingMember,
        slow_handle: Callable[[Stream, bytes], object],
        store: MvccStore,
        reads_max: int,
        budget: _Budget,
        serve_now: Callable[[_Serve, Stream, bytes], object],
        slow_serve: _Serve,
    ) -> None:
        """Reads are put into `reads.waiting`; a round begins for them after `wake`."""
    def serve(self, waiter: Waiter, request: bytes) -> None:
        """Answer from the store, as of now."""
