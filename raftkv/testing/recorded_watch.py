"""Watches that write down every response of every connection; a client hides both."""

from __future__ import annotations

import asyncio
import random
import time

import grpc

from raftkv.client import Client
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.history import WatchStream

__all__ = ["RecordedWatch"]

REOPEN_S = 0.1
PROGRESS_EVERY_S = 0.5


class RecordedWatch:
    """A watch over all keys at one member, resumed on a new connection whenever one breaks."""

    def __init__(self, number: int, member: int, endpoint: str, start_revision: int) -> None:
        self.streams: list[WatchStream] = []
        self.next_revision = start_revision
        """All of lower revisions is delivered."""
        self._number = number
        self._member = member
        self._client = Client([endpoint])

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                request = pb.WatchCreateRequest(
                    key=b"\0",
                    range_end=b"\0",
                    start_revision=self.next_revision,
                    prev_kv=True,
                    progress_notify=True,
                )
                await self.watch_once(request)
                await asyncio.sleep(REOPEN_S)
        finally:
            await self._client.close()

    async def watch_once(self, request: pb.WatchCreateRequest) -> None:
        """Record one stream until it breaks or is cancelled."""
        record = WatchStream(self._number, request, endpoint=self._member)
        self.streams.append(record)
        _, channel = self._client.endpoints.channel()
        stream = channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )(metadata=(("hasleader", "true"),) if random.random() < 0.5 else ())
        asking: asyncio.Task[None] | None = None
        try:
            await stream.write(pb.WatchRequest(create_request=request))
            while (response := await stream.read()) is not grpc.aio.EOF:
                record.responses.append((time.monotonic(), response))
                if response.events:
                    self.next_revision = response.events[-1].kv.mod_revision + 1
                if response.canceled:
                    return
                if asking is None:
                    asking = asyncio.create_task(_ask_for_progress(stream))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            stream.cancel()

    async def close(self) -> None:
        """Close the connection; for those that used `watch_once` only."""
        await self._client.close()


async def _ask_for_progress(stream: grpc.aio.StreamStreamCall) -> None:
    """Ask now and then, until the stream is over."""
    request = pb.WatchRequest(progress_request=pb.WatchProgressRequest())
    try:
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            await stream.write(request)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return
