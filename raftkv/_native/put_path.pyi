"""Puts that nothing is special about, gathered without a Python function; see the .pxd."""

from collections.abc import Callable
from typing import Protocol

from raftkv._native.command_batch import CommandBatch
from raftkv._native.http2_stream import Stream
from raftkv._native.kv_path import KvMember, KvPath
from raftkv._native.padded_message import PaddedMessage

class _Limits(Protocol):
    @property
    def batch_bytes_max(self) -> int: ...

class _Proposals(Protocol):
    @property
    def limits(self) -> _Limits: ...
    @property
    def gathering(self) -> CommandBatch: ...
    @property
    def has_room(self) -> bool: ...
    def close_batch(self) -> None: ...

class _Quota(Protocol):
    def reserve(self, payload_bytes: int) -> bool: ...

class _WritingMember(KvMember, Protocol):
    @property
    def proposals(self) -> _Proposals: ...
    @property
    def quota(self) -> _Quota: ...

class PutPath(KvPath):
    """The path of KV.Put."""

    def __init__(
        self,
        member: _WritingMember,
        slow_handle: Callable[[Stream, bytes], object],
        request_bytes_max: int,
    ) -> None:
        """Puts go into `proposals.gathering`, and to a leader after `wake`."""

    def headroom(self, size: int, /) -> int: ...
    def on_large(self, stream: Stream, message: PaddedMessage, /) -> None: ...
