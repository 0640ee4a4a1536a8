"""A watch that outlives its connection: it resumes after the last revision that it delivered."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TypeAlias

import grpc

from raftkv.client.endpoints import Endpoints
from raftkv.client.errors import ClientError, CompactedError, from_rpc_error
from raftkv.pb.etcd import rpc_pb2 as pb

RESUME_WAIT_S = 0.1
RESUME_WAIT_S_MAX = 1.0
RESUMABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
"""As in clientv3: any other status ends the watch."""

WatchStream: TypeAlias = grpc.aio.StreamStreamCall


class WatchCanceledError(ClientError):
    """The server ended the watch and said why."""


class Watch:
    """An iterator of `WatchResponse`s that carry events or progress.

    Order, completeness and uniqueness are the server's promise per connection; over a reconnection
    this class keeps it by asking for the revision after the last one delivered, and by dropping
    what is repeated. A response holds whole revisions unless fragments were asked for.
    `created_revision` is the store's revision when the server accepted the watch.

    Raises CompactedError when the next revision is gone, WatchCanceledError when the server
    refuses.
    Cost: one stream a watch.
    """

    def __init__(self, endpoints: Endpoints, request: pb.WatchCreateRequest) -> None:
        self._endpoints = endpoints
        self._request = request
        self._next_revision = request.start_revision
        self._stream: WatchStream | None = None
        self._at = 0
        self._closed = False
        self.created_revision = 0

    async def __aenter__(self) -> Watch:
        await self._open_until_accepted()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the watch; an iteration that waits for it ends too."""
        self._closed = True
        if self._stream is not None:
            self._stream.cancel()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> pb.WatchResponse:
        while not self._ended():
            try:
                response = await self._receive()
            except grpc.aio.AioRpcError as error:
                if not self._ended():
                    await self._resume_after(error)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not self._ended() or (task is not None and task.cancelling()):
                    raise
            else:
                if response is not None:
                    return response
        raise StopAsyncIteration

    def _ended(self) -> bool:
        return self._closed

    async def request_progress(self) -> None:
        """Ask for a progress response: watch id -1, and a revision up to which all is delivered."""
        if self._stream is not None:
            await self._stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    async def _receive(self) -> pb.WatchResponse | None:
        """Read one response; None where there is nothing to hand on."""
        assert self._stream is not None
        response = await self._stream.read()
        if response is grpc.aio.EOF:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE,
                grpc.aio.Metadata(),
                grpc.aio.Metadata(),
                "stream ended",
            )
        assert isinstance(response, pb.WatchResponse)
        if response.canceled:
            tokens = self._endpoints.tokens
            if not tokens.is_cured_of(response.cancel_reason):
                raise self._cancellation(response)
            await tokens.renew(tokens.token)
            await self._open()
            return None
        if response.created:
            self._accepted(response)
            return None
        if not response.events:
            return response
        first_wanted = self._next_revision
        if response.events[0].kv.mod_revision < first_wanted:
            kept = [event for event in response.events if event.kv.mod_revision >= first_wanted]
            del response.events[:]
            response.events.extend(kept)
            if not kept:
                return None
        if not response.fragment:
            self._next_revision = response.events[-1].kv.mod_revision + 1
        return response

    def _accepted(self, response: pb.WatchResponse) -> None:
        self.created_revision = response.header.revision
        if self._next_revision == 0:
            # "From now" must stay the same "now" over a reconnection.
            self._next_revision = response.header.revision + 1

    def _cancellation(self, response: pb.WatchResponse) -> ClientError:
        self._closed = True
        if response.compact_revision:
            text = "etcdserver: mvcc: required revision has been compacted"
            return CompactedError(grpc.StatusCode.OUT_OF_RANGE, text)
        reason = response.cancel_reason or "etcdserver: watch canceled"
        return WatchCanceledError(grpc.StatusCode.CANCELLED, reason)

    async def _open_until_accepted(self) -> None:
        while self.created_revision == 0:
            try:
                await self._open()
                await self._receive()
            except grpc.aio.AioRpcError as error:
                await self._resume_after(error)

    async def _open(self) -> None:
        tokens = self._endpoints.tokens
        await tokens.ready()
        self._at, channel = self._endpoints.channel()
        call = channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        self._stream = call(metadata=(("hasleader", "true"), *tokens.metadata))
        request = pb.WatchCreateRequest()
        request.CopyFrom(self._request)
        request.start_revision = self._next_revision
        await self._stream.write(pb.WatchRequest(create_request=request))

    async def _resume_after(self, error: grpc.aio.AioRpcError) -> None:
        """Open the stream on the next member, with growing waits; raise where that is no use."""
        if error.code() not in RESUMABLE:
            self._closed = True
            raise from_rpc_error(error) from error
        wait_s = RESUME_WAIT_S
        while not self._closed:
            self._endpoints.failed(self._at)
            await asyncio.sleep(wait_s)
            try:
                await self._open()
                return
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                wait_s = min(wait_s * 2, RESUME_WAIT_S_MAX)
