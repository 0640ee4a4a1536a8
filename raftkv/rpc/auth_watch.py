"""Watch streams while authentication is on: each watcher is judged, and refused by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from raftkv._native.http2 import Stream, StreamHandler
from raftkv.errors import ERRORS, ErrorCode, GrpcStatus
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.auth_rules import Rule
from raftkv.server.member import Member

if TYPE_CHECKING:
    from raftkv.rpc.auth_gate import AuthGate

__all__ = ["GuardedWatch", "cancel_reason"]

REFUSED_ID = -1


class GuardedWatch:
    """The requests of one watch stream; whoever may not watch a range hears it on the stream."""

    def __init__(
        self, gate: AuthGate, rule: Rule, stream: Stream, inner: StreamHandler, member: Member
    ) -> None:
        self._gate = gate
        self._rule = rule
        self._stream = stream
        self._inner = inner
        self._member = member

    def on_message(self, message: bytes) -> None:
        """Judge a request to watch; everything else concerns watchers that were judged."""
        refusal = None if self._gate.is_open else self._refuse(message)
        if refusal is None:
            self._inner.on_message(message)
            return
        response = pb.WatchResponse(
            header=self._member.header(),
            watch_id=REFUSED_ID,
            created=True,
            canceled=True,
            cancel_reason=cancel_reason(refusal),
        )
        self._stream.send(response.SerializeToString())

    def _refuse(self, message: bytes) -> ErrorCode | None:
        try:
            request = pb.WatchRequest.FromString(message)
        except DecodeError:
            return None  # for the handler to say so
        if request.WhichOneof("request_union") != "create_request":
            return None
        return self._gate.refuse(self._rule, self._stream, request)

    def on_half_close(self) -> None:
        """Pass it on."""
        self._inner.on_half_close()

    def on_closed(self) -> None:
        """Pass it on."""
        self._inner.on_closed()


def cancel_reason(code: ErrorCode) -> str:
    """Return an error as grpc-go prints it, which is how etcd tells why a watch is refused."""
    status, text = ERRORS[code]
    name = GrpcStatus(status).name.title().replace("_", "")
    return f"rpc error: code = {name} desc = {text}"
