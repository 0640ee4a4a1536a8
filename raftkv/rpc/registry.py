"""Coroutines on protobuf messages as handlers of the native front end.

Hot methods register with the `MethodTable` themselves and work on bytes. Everything else registers
here: one task a call, cancelled when the client goes away, ended by the client's deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from raftkv._native.http2 import MethodTable, Stream
from raftkv.errors import GrpcStatus
from raftkv.rpc.grpc_status import RpcError, status_of

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

CALLS_MAX = 10_000
"""Calls that may be under way in coroutines; one more is RESOURCE_EXHAUSTED."""
REQUESTS_WAITING_MAX = 1_000
"""Messages of one streaming call that its handler has not taken; one more ends the call."""


class Call(Generic[Request, Response]):
    """A streaming call as its coroutine sees it: `async for` the requests, `send` the answers."""

    def __init__(self, stream: Stream, request_type: type[Request]) -> None:
        self.stream = stream
        self._request_type = request_type
        self._arrived: asyncio.Queue[Request | None] = asyncio.Queue(REQUESTS_WAITING_MAX + 1)
        self._room = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def __aiter__(self) -> AsyncIterator[Request]:
        while (request := await self._arrived.get()) is not None:
            yield request

    async def send(self, response: Response) -> None:
        """Queue one answer; wait while more than the low-water mark is queued already."""
        self._room.clear()
        self.stream.on_drained = self._room.set
        self.stream.send(response.SerializeToString())
        if self.stream.drain_pending:
            await self._room.wait()

    # StreamHandler

    def on_message(self, message: bytes) -> None:
        if self._arrived.qsize() >= REQUESTS_WAITING_MAX:
            self.stream.finish(int(GrpcStatus.RESOURCE_EXHAUSTED), "too many requests waiting")
            return
        self._arrived.put_nowait(self._request_type.FromString(message))

    def on_half_close(self) -> None:
        self._arrived.put_nowait(None)

    def on_closed(self) -> None:
        if self.task is not None:
            self.task.cancel()


class ServiceRegistry:
    """Registers coroutine handlers and owns the tasks that run them."""

    def __init__(
        self,
        methods: MethodTable,
        calls_max: int = CALLS_MAX,
        refuse: Callable[[str, Stream], Exception | None] = lambda _path, _stream: None,
    ) -> None:
        """`refuse(path, stream)` returns what forbids a call now, if anything does."""
        self._refuse = refuse
        self._methods = methods
        self._calls_max = calls_max
        self._tasks: set[asyncio.Task[None]] = set()

    def unary(
        self,
        path: str,
        request_type: type[Request],
        handler: Callable[[Request, Stream], Awaitable[Response]],
    ) -> None:
        """Answer `path` ("/etcdserverpb.Lease/LeaseGrant") with what `handler` returns.

        What it raises becomes the status, by `status_of`.
        """

        async def answer(stream: Stream, message: bytes) -> None:
            refusal = self._refuse(path, stream)
            if refusal is not None:
                raise refusal
            response = await handler(request_type.FromString(message), stream)
            stream.reply(response.SerializeToString())

        def begin(stream: Stream, message: bytes) -> None:
            task = self.start(stream, answer(stream, message))
            if task is not None:
                stream.on_closed = task.cancel

        self._methods.unary(path.encode(), begin)

    def streaming(
        self,
        path: str,
        request_type: type[Request],
        handler: Callable[[Call[Request, Response]], Awaitable[None]],
    ) -> None:
        """Answer `path` with a coroutine that lives as long as the call; OK when it returns."""

        async def serve(call: Call[Request, Response]) -> None:
            refusal = self._refuse(path, call.stream)
            if refusal is not None:
                raise refusal
            await handler(call)
            call.stream.finish()

        def begin(stream: Stream) -> Call[Request, Response]:
            call: Call[Request, Response] = Call(stream, request_type)
            call.task = self.start(stream, serve(call))
            return call

        self._methods.streaming(path.encode(), begin)

    async def close(self) -> None:
        """Cancel the calls under way and wait for their end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, stream: Stream, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Run the work of one call; None where too many are under way, which ends the call."""
        if len(self._tasks) >= self._calls_max:
            work.close()
            stream.fail(int(GrpcStatus.RESOURCE_EXHAUSTED), "too many calls under way")
            return None
        return self.track(_run(stream, work))

    def track(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work that many calls share; it is cancelled when the services close."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _run(stream: Stream, work: Coroutine[Any, Any, None]) -> None:
    """Run one call under the client's deadline and tell its failure, never raise it."""
    try:
        async with asyncio.timeout(stream.deadline_s):
            await work
    except asyncio.CancelledError as error:
        stream.finish(*status_of(error))
        raise
    except Exception as error:
        stream.finish(*status_of(error))


def unimplemented(methods: MethodTable, path: str, reason: str) -> None:
    """Refuse a method that exists in the API but not here yet, by name."""
    error = RpcError(GrpcStatus.UNIMPLEMENTED, reason)

    def refuse(stream: Stream, _message: bytes) -> None:
        stream.fail(*status_of(error))

    methods.unary(path.encode(), refuse)
