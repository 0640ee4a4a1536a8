"""The short ways of KV's requests, from a frame to the member without a Python function."""

from collections.abc import Callable
from typing import Protocol

from raftkv._native.http2_stream import Stream
from raftkv.raft.configuration import Configuration

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
    is_out_of_space: bool

class _Cluster(Protocol):
    @property
    def alarms(self) -> _Alarms: ...

class KvMember(Protocol):
    """What a path needs of its member."""

    @property
    def node(self) -> _Node: ...
    @property
    def auth(self) -> _Auth: ...
    @property
    def cluster(self) -> _Cluster: ...
    def wake(self) -> None: ...

class KvPath:
    """What all paths ask of their member."""

    slow_handle: Callable[[Stream, bytes], object]
    @property
    def count(self) -> int:
        """Requests that it saw to itself."""
    def __call__(self, stream: Stream, message: bytes) -> None:
        """Take a request."""
