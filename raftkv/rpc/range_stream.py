"""KV.RangeStream: a range of any size in messages of bounded size, read at one revision.

Only the last message has what a Range says beside keys: header, `more` and `count`. A client that
reads slowly holds back the reading, and a compaction that passes the revision meanwhile ends the
call.
"""

from raftkv._native.http2 import Stream
from raftkv.errors import ErrorCode, GrpcStatus, StoreError
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc import local_call
from raftkv.rpc.grpc_status import RpcError
from raftkv.rpc.local_call import LocalServices
from raftkv.rpc.registry import Call, ServiceRegistry
from raftkv.server.member import Member

__all__ = ["RangeStreamService"]

FIRST_KEYS = 10
"""Keys of the first message; later ones double or halve to come near the request limit in bytes."""

KEYS_MAX = 10_000
"""Keys of one message at most: reading them takes some milliseconds of the loop."""

CUSTOM_ORDER = "RangeStream does not support custom sort orders"
REVISION_FILTERS = "RangeStream does not support revision filters"


class RangeStreamService:
    """Serves ranges page by page, in the order of keys only."""

    def __init__(self, member: Member, services: LocalServices) -> None:
        self._member = member
        self._services = services
        self._bytes_wanted = member.config.request_bytes_max

    def register(self, registry: ServiceRegistry) -> None:
        """Add the method."""
        registry.streaming("/etcdserverpb.KV/RangeStream", pb.RangeRequest, self.range_stream)

    async def range_stream(self, call: Call[pb.RangeRequest, pb.RangeStreamResponse]) -> None:
        """Send the keys, and with the last of them header, `more` and `count`."""
        async for request in call:
            await self._serve(request, call)
            return

    async def _serve(
        self, request: pb.RangeRequest, call: Call[pb.RangeRequest, pb.RangeStreamResponse]
    ) -> None:
        counted = await self._count(request, call.stream)
        last = pb.RangeResponse(header=counted.header, count=counted.count)
        if not request.count_only and counted.count:
            revision = request.revision if request.revision > 0 else counted.header.revision
            last.kvs.extend(await self._send_pages(request, revision, call))
            last.more = 0 < request.limit < counted.count
        await call.send(pb.RangeStreamResponse(range_response=last))

    async def _count(self, request: pb.RangeRequest, stream: Stream) -> pb.RangeResponse:
        """Judge the request as a Range and fix the revision to read at. Raises RpcError."""
        count = pb.RangeRequest()
        count.CopyFrom(request)
        count.count_only = True
        code = self._member.store.check_range(request.SerializeToString())
        if not code:
            _refuse_what_needs_everything(request)
        return await local_call.call(self._services.range, stream, count, pb.RangeResponse)

    async def _send_pages(
        self,
        request: pb.RangeRequest,
        revision: int,
        call: Call[pb.RangeRequest, pb.RangeStreamResponse],
    ) -> list[kv_pb2.KeyValue]:
        """Send all pages but the last, which is returned. Raises StoreError when compacted."""
        page = pb.RangeRequest(
            key=request.key,
            range_end=request.range_end,
            revision=revision,
            keys_only=request.keys_only,
        )
        limit, sent = FIRST_KEYS, 0
        while True:
            page.limit = min(limit, request.limit - sent) if request.limit > 0 else limit
            found = self._read(page)
            sent += len(found.kvs)
            if not found.more or sent == request.limit:
                return list(found.kvs)
            page.key = found.kvs[-1].key + b"\0"
            size = await self._send(found, call)
            limit = next_limit(limit, size, self._bytes_wanted)

    async def _send(
        self, found: pb.RangeResponse, call: Call[pb.RangeRequest, pb.RangeStreamResponse]
    ) -> int:
        """Send one page; returns its size in bytes."""
        message = pb.RangeStreamResponse()
        message.range_response.kvs.extend(found.kvs)
        await call.send(message)
        return message.ByteSize()

    def _read(self, page: pb.RangeRequest) -> pb.RangeResponse:
        member = self._member
        answer = member.store.range_page(page.SerializeToString(), member.node.term)
        if not isinstance(answer, bytes):
            raise StoreError(ErrorCode(answer))
        return pb.RangeResponse.FromString(answer)


def _refuse_what_needs_everything(request: pb.RangeRequest) -> None:
    """Raise RpcError where no key could be sent before all are read."""
    in_key_order = request.sort_order == pb.RangeRequest.NONE or (
        request.sort_order == pb.RangeRequest.ASCEND and request.sort_target == pb.RangeRequest.KEY
    )
    if not in_key_order:
        raise RpcError(GrpcStatus.UNIMPLEMENTED, CUSTOM_ORDER)
    if (
        request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    ):
        raise RpcError(GrpcStatus.UNIMPLEMENTED, REVISION_FILTERS)


def next_limit(limit: int, size: int, wanted: int) -> int:
    """Return how many keys to read next when `limit` gave `size` bytes, and `wanted` would do."""
    if size < wanted // 2:
        limit *= 2
    elif size > wanted * 2:
        limit //= 2
    return max(1, min(limit, KEYS_MAX))
