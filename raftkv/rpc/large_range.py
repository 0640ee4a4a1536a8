"""Ranges that are too large to be answered in one go: measured and sent a slice at a time.

One slice of one range is worked on per turn of the loop, whoever else asks, and a range is encoded
only as fast as its client reads. So however large it is, it costs the member a piece of memory, and
the other clients a slice of time.
"""

import asyncio
import logging
import time
from collections import Counter, deque

from raftkv._native.http2 import Stream
from raftkv._native.mvcc_store import MvccStore
from raftkv._native.range_reader import RangeReader
from raftkv.errors import ERRORS, ErrorCode, GrpcStatus, StoreError

__all__ = ["LargeRanges"]

log = logging.getLogger(__name__)

RANGES_MAX = 4096
"""Large ranges under way; one more is refused with `too many requests`."""
RANGES_OF_CONNECTION_MAX = 64
"""Those of one connection."""
SLICE_S = 0.0005
"""How long one slice may measure keys; other clients wait for it."""
STEP_KEYS = 256
"""Keys that are gone through between two looks at the clock: each may cost a read of the disk."""
PIECE_KEYS = 512
"""Keys of one piece at most."""
PIECE_BYTES = 128 << 10
"""What a slice encodes, and about what is kept of an answer that its client does not read."""
ANSWER_BYTES_MAX = (1 << 31) - 1
"""The longest answer that etcd's server sends, and its clients take."""
RESTARTS_MAX = 5
"""How often a range of the newest revision begins again because a compaction overtook it."""


class LargeRanges:
    """All large ranges of one member. Used from the loop only."""

    def __init__(self, store: MvccStore) -> None:
        self._store = store
        self._count = 0
        self._of_connection: Counter[int] = Counter()
        self._runnable: deque[_LargeRange] = deque()
        self._scheduled = False

    def small(self, message: bytes, raft_term: int) -> bytes | int | None:
        """Answer at once, with an error code too; None where that would be long."""
        return self._store.small_range(message, raft_term)

    def begin(self, stream: Stream, message: bytes, raft_term: int) -> None:
        """Answer a RangeRequest, checked before, that `small` gave up."""
        connection = stream.connection_id
        if self._count >= RANGES_MAX or self._of_connection[connection] >= RANGES_OF_CONNECTION_MAX:
            stream.fail(*ERRORS[ErrorCode.REQUEST_TOO_MANY_REQUESTS])
            return
        self._count += 1
        self._of_connection[connection] += 1
        stream.on_closed = lambda: self._ended(connection)
        self._run(_LargeRange(self._store, stream, message, raft_term))

    def _ended(self, connection: int) -> None:
        self._count -= 1
        self._of_connection[connection] -= 1
        if not self._of_connection[connection]:
            del self._of_connection[connection]

    def _run(self, large: "_LargeRange") -> None:
        self._runnable.append(large)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Work on one slice of whoever has waited longest."""
        self._scheduled = False
        large = self._runnable.popleft()
        try:
            goes_on = large.work()
        except StoreError as error:
            large.fail(*ERRORS[error.code])
        except Exception:
            log.exception("a large range failed")
            large.fail(int(GrpcStatus.INTERNAL), "internal error")
        else:
            if goes_on:
                self._run(large)
            elif not large.done:
                large.stream.on_drained = lambda: self._run(large)
        if self._runnable and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)


class _LargeRange:
    """One range: first measured, then sent."""

    def __init__(self, store: MvccStore, stream: Stream, message: bytes, raft_term: int) -> None:
        self.stream = stream
        self.done = False
        self._store = store
        self._message = message
        self._raft_term = raft_term
        self._reader: RangeReader | None = None
        self._restarts = 0
        self._sending = False

    def work(self) -> bool:
        """Do one slice; False when there is nothing to do now. Raises StoreError."""
        if self.stream.closed:
            self.done = True
            return False
        return self._send() if self._sending else self._measure()

    def fail(self, code: int, text: str) -> None:
        """End the call with an error, within the message if it has begun."""
        self.done = True
        if self._sending:
            self.stream.reset()
        else:
            self.stream.fail(code, text)

    def _measure(self) -> bool:
        try:
            if self._reader is None:
                self._reader = RangeReader(self._store, self._message, self._raft_term)
            until = time.monotonic() + SLICE_S
            while not self._reader.measure(STEP_KEYS):
                if time.monotonic() >= until:
                    return True
        except StoreError as error:
            self._restarts += 1
            if error.code is not ErrorCode.COMPACTED or self._restarts > RESTARTS_MAX:
                raise
            return self._restart(error)
        size = self._reader.size
        if size > ANSWER_BYTES_MAX:
            text = f"trying to send message larger than max ({size} vs. {ANSWER_BYTES_MAX})"
            self.fail(int(GrpcStatus.RESOURCE_EXHAUSTED), f"grpc: {text}")
            return False
        self._sending = True
        self.stream.begin_large(size)
        return True

    def _restart(self, error: StoreError) -> bool:
        """Begin again with the newest revision, unless the client named one. Raises StoreError."""
        if self._reader is None or self._reader.is_of_named_revision:
            raise error
        self._reader = None
        return True

    def _send(self) -> bool:
        assert self._reader is not None
        piece = self._reader.read(PIECE_BYTES, PIECE_KEYS)
        if piece is None:
            self.done = True
            self.stream.finish()
            return False
        self.stream.send(piece)
        return not self.stream.drain_pending
