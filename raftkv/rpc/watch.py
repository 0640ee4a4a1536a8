"""etcdserverpb.Watch: one stream carries many watchers; the hub does the work."""

from google.protobuf.message import DecodeError

from raftkv._native.http2 import MethodTable, Stream
from raftkv._native.watch_hub import WatchStream
from raftkv.errors import ERRORS, ErrorCode, GrpcStatus
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.require_leader import REQUIRE_LEADER, lacks_leader
from raftkv.server.member import Member

__all__ = ["WatchService"]

LEADERLESS_TIMEOUTS = 3
"""Election timeouts without a leader after which such streams end."""


class WatchService:
    """Opens watch streams, and ends those that require a leader when there is none."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._require_leader: set[WatchCall] = set()
        self._leaderless_checks = 0

    def register(self, methods: MethodTable) -> None:
        """Add the method of the service."""
        methods.streaming(b"/etcdserverpb.Watch/Watch", self.open)

    def open(self, stream: Stream) -> "WatchCall":
        """Begin a stream; what it has to say goes to the call that is returned."""
        if self._member.is_learner:
            stream.finish(*ERRORS[ErrorCode.NOT_SUPPORTED_FOR_LEARNER])
        elif lacks_leader(self._member, stream):
            stream.finish(*ERRORS[ErrorCode.NO_LEADER])
        call = WatchCall(stream, self._member.hub.open(stream), self._require_leader)
        if REQUIRE_LEADER in stream.metadata:
            self._require_leader.add(call)
        return call

    def check_leader(self) -> None:
        """Call once an election timeout: end the streams whose leader is gone too long."""
        if self._member.node.leader_id:
            self._leaderless_checks = 0
            return
        self._leaderless_checks += 1
        if self._leaderless_checks >= LEADERLESS_TIMEOUTS:
            for call in list(self._require_leader):
                call.stream.finish(*ERRORS[ErrorCode.NO_LEADER])


class WatchCall:
    """The requests of one stream."""

    def __init__(self, stream: Stream, watchers: WatchStream, registered: set["WatchCall"]) -> None:
        self.stream = stream
        self._watchers = watchers
        self._registered = registered
        stream.on_drained = watchers.drained

    def on_message(self, message: bytes) -> None:
        """Create, cancel or report progress."""
        try:
            request = pb.WatchRequest.FromString(message)
        except DecodeError as error:
            text = f"grpc: failed to unmarshal the received message: {error}"
            self.stream.finish(int(GrpcStatus.INTERNAL), text)
            return
        match request.WhichOneof("request_union"):
            case "create_request":
                self._create(request.create_request)
            case "cancel_request":
                self._watchers.cancel(request.cancel_request.watch_id)
            case "progress_request":
                self._watchers.request_progress()

    def _create(self, create: pb.WatchCreateRequest) -> None:
        self._watchers.create(
            create.key,
            create.range_end,
            create.start_revision,
            prev_kv=create.prev_kv,
            no_put=pb.WatchCreateRequest.NOPUT in create.filters,
            no_delete=pb.WatchCreateRequest.NODELETE in create.filters,
            progress_notify=create.progress_notify,
            watch_id=create.watch_id,
            fragment=create.fragment,
        )

    def watched(self) -> list[tuple[int, bytes, bytes]]:
        """Return (watch id, key, range end) of every watcher."""
        return self._watchers.watched()

    def revoke(self, watch_id: int, reason: str) -> None:
        """End one watcher, telling why."""
        self._watchers.cancel(watch_id, reason.encode())

    def on_half_close(self) -> None:
        """The client asks no more, but listens: the stream goes on, as in etcd."""

    def on_closed(self) -> None:
        """Forget the watchers."""
        self._registered.discard(self)
        self._watchers.close()
