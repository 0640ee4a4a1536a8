"""Calls of one service by another inside this process, by the same handlers that clients reach.

Lock and Election are made of ranges, transactions and watches. They ask for these in the name of
their own caller, by its metadata, so that quota, alarms, permissions and learners' refusals hold
for them as for anybody.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from raftkv._native.http2 import MethodTable, Stream
from raftkv.errors import GrpcStatus
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.grpc_status import RpcError

__all__ = ["LocalServices", "LocalStream", "LocalWatch", "call"]

Response = TypeVar("Response", bound=Message)

WATCH_BYTES_PENDING_MAX = 1 << 20
"""What a local watch may have untaken before the hub keeps events back in its history."""


class LocalStream:
    """Looks like the stream of a request of `caller`, and keeps the one answer in a future."""

    def __init__(self, caller: Stream) -> None:
        self.metadata = caller.metadata
        self.peer = caller.peer
        self.peer_common_name = getattr(caller, "peer_common_name", "")
        self.deadline_s: float | None = None
        self.closed = False
        self.on_closed: Callable[[], object] | None = None
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def reply(self, message: bytes) -> bool:
        """Take the answer."""
        if not self.answer.done():
            self.answer.set_result(message)
        return True

    def fail(self, code: int, text: str) -> bool:
        """Take a refusal."""
        if not self.answer.done():
            self.answer.set_exception(RpcError(GrpcStatus(code), text))
        return True

    def finish(self, code: int = 0, text: str = "") -> bool:
        """Take a refusal, or the end of a call that was answered."""
        return self.fail(code, text) if code else True


class LocalServices:
    """The handlers that clients reach, as their table has them: guarded, counted, whatever else."""

    def __init__(self, methods: MethodTable) -> None:
        """Make it when KV and Watch are in the table."""
        self.range = _handler(methods, b"/etcdserverpb.KV/Range")
        self.txn = _handler(methods, b"/etcdserverpb.KV/Txn")
        self.delete_range = _handler(methods, b"/etcdserverpb.KV/DeleteRange")
        self.open_watch = _handler(methods, b"/etcdserverpb.Watch/Watch")


def _handler(methods: MethodTable, path: bytes) -> Callable[..., Any]:
    method = methods.find(path)
    assert method is not None, path
    return method.handler


async def call(
    handler: Callable[[Stream, bytes], object],
    caller: Stream,
    request: Message,
    answer: type[Response],
) -> Response:
    """Have a unary handler serve `request` in the name of `caller`. Raises RpcError."""
    stream = LocalStream(caller)
    handler(cast(Stream, stream), request.SerializeToString())
    try:
        return answer.FromString(await stream.answer)
    finally:
        if stream.on_closed is not None and not stream.answer.done():
            stream.on_closed()


class LocalWatch:
    """Watches one range in the name of `caller`; use with `async with`, then iterate.

    Raises RpcError where the stream ends; a canceled watch is told like any other response.
    """

    def __init__(
        self,
        open_watch: Callable[[Stream], Any],
        caller: Stream,
        create: pb.WatchCreateRequest,
    ) -> None:
        self.metadata = caller.metadata
        self.peer = caller.peer
        self.peer_common_name = getattr(caller, "peer_common_name", "")
        self.pending_bytes = 0
        self.closed = False
        self.on_drained: Callable[[], object] | None = None
        self.on_closed: Callable[[], object] | None = None
        self.deadline_s: float | None = None
        self._arrived: asyncio.Queue[bytes | RpcError] = asyncio.Queue()
        """Bounded by bytes: the hub stops at its budget, see `pending_bytes`."""
        self._open = open_watch
        self._create = create
        self._call: Any = None

    async def __aenter__(self) -> "LocalWatch":
        self._call = self._open(cast(Stream, self))
        request = pb.WatchRequest(create_request=self._create)
        self._call.on_message(request.SerializeToString())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True
        self._call.on_closed()

    async def __aiter__(self) -> AsyncIterator[pb.WatchResponse]:
        while True:
            arrived = await self._arrived.get()
            if isinstance(arrived, RpcError):
                raise arrived
            was_full = self.drain_pending
            self.pending_bytes -= len(arrived)
            if was_full and not self.drain_pending and self.on_drained is not None:
                self.on_drained()
            yield pb.WatchResponse.FromString(arrived)

    # What the watch service and the hub do with a stream.

    @property
    def drain_pending(self) -> bool:
        """Whether so much is untaken that the hub is to wait."""
        return self.pending_bytes > WATCH_BYTES_PENDING_MAX

    def send(self, head: bytes, tail: bytes | None = None) -> bool:
        """Take one message."""
        if self.closed:
            return False
        message = head + (tail or b"")
        self.pending_bytes += len(message)
        self._arrived.put_nowait(message)
        return True

    def finish(self, code: int = 0, text: str = "") -> bool:
        """Take the end of the stream."""
        if self.closed:
            return False
        self._arrived.put_nowait(RpcError(GrpcStatus(code or GrpcStatus.UNKNOWN), text))
        return True

    fail = finish
