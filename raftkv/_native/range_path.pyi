"""Ranges that nothing is special about, answered without a Python function; see the .pxd."""

from collections.abc import Callable
from typing import Protocol

from raftkv._native.http2_stream import Stream
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.waiter import Waiter
from raftkv.raft.configuration import Configuration

_Serve = Callable[[Waiter, bytes], object]

class _Node(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def leader_id(self) -> int: ...
    @property
    def term(self) -> int: ...
    @property
    def configuration(self) -> Configuration: ...

class _Auth(Protocol):
    @property
    def stamp(self) -> bytes | None: ...

class _Alarms(Protocol):
    is_corrupt: bool

class _Reads(Protocol):
    waiting: list[tuple[_Serve, Waiter, bytes]]
    @property
    def count(self) -> int: ...

class _Budget(Protocol):
    def must_wait(self) -> bool: ...
    def spend(self, size: int) -> None: ...

class RangePath:
    """A unary handler. What it does not see to itself, it leaves to `slow_handle` and `slow_serve`.

    Those are the plain twins: they answer everything, and equally.
    """

    slow_handle: Callable[[Stream, bytes], object]
    slow_serve: _Serve
    @property
    def count(self) -> int:
        """Requests that it saw to itself."""
    def __init__(
        self,
        store: MvccStore,
        node: _Node,
        auth: _Auth,
        alarms: _Alarms,
        reads: _Reads,
        reads_max: int,
        wake: Callable[[], object],
        serve_now: Callable[[_Serve, Stream, bytes], object],
        budget: _Budget,
        slow_handle: Callable[[Stream, bytes], object],
        slow_serve: _Serve,
    ) -> None:
        """Reads are put into `reads.waiting`; a round begins for them after `wake`."""
    def __call__(self, stream: Stream, message: bytes) -> None:
        """Take a RangeRequest: have it wait for a round, or answer it where it is serializable."""
    def serve(self, waiter: Waiter, request: bytes) -> None:
        """Answer from the store, as of now."""
