"""Watch streams while authentication is on: each watcher is judged, and refused by itself.

It is judged again when users, roles or permissions change, and ended where it may not be any more;
etcd lets it go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from raftkv._native.http2 import Stream
from raftkv.errors import ERRORS, ErrorCode, GrpcStatus
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.auth_call import InOrder
from raftkv.rpc.auth_rules import Rule
from raftkv.rpc.watch import WatchCall
from raftkv.server.member import Member

if TYPE_CHECKING:
    from raftkv.rpc.auth_gate import AuthGate

__all__ = ["GuardedWatch", "cancel_reason"]

REFUSED_ID = -1


class GuardedWatch(InOrder):
    """The requests of one watch stream; whoever may not watch a range hears it on the stream."""

    def __init__(
        self, gate: AuthGate, rule: Rule, stream: Stream, inner: WatchCall, member: Member
    ) -> None:
        super().__init__(gate, stream, self._judge)
        self._rule = rule
        self._inner = inner
        self._member = member
        self._name: str | None = None
        """Whose watchers these are, once somebody was judged."""
        member.auth.on_change.add(self._judge_again)

    def _judge_again(self) -> None:
        """End the watchers that may not be any more; those of nobody end when there are users."""
        if self._gate.is_open:
            return
        name = self._gate.name_of(self._stream) if self._name is None else self._name
        for watch_id, key, range_end in self._inner.watched():
            create = pb.WatchCreateRequest(key=key, range_end=range_end)
            request = pb.WatchRequest(create_request=create)
            refusal = self._gate.refuse_by_name(self._rule, name, request)
            if refusal is not None:
                self._inner.revoke(watch_id, cancel_reason(refusal))

    def on_message(self, message: bytes) -> None:
        """Judge a request to watch; everything else concerns watchers that were judged."""
        self.take(message)

    def _judge(self, message: bytes, is_final: bool) -> bool:
        refusal = None if self._gate.is_open else self._refuse(message)
        if refusal is None:
            self._inner.on_message(message)
            return True
        if not is_final:
            return False
        response = pb.WatchResponse(
            header=self._member.header(),
            watch_id=REFUSED_ID,
            created=True,
            canceled=True,
            cancel_reason=cancel_reason(refusal),
        )
        self._stream.send(response.SerializeToString())
        return True

    def _refuse(self, message: bytes) -> ErrorCode | None:
        try:
            request = pb.WatchRequest.FromString(message)
        except DecodeError:
            return None  # for the handler to say so
        if request.WhichOneof("request_union") != "create_request":
            return None
        name = self._gate.name_of(self._stream)
        refusal = self._gate.refuse_by_name(self._rule, name, request)
        if refusal is None:
            self._name = str(name)
        return refusal

    def on_half_close(self) -> None:
        """Pass it on, in its turn."""
        if not self.take(None):
            self.on_end()

    def on_end(self) -> None:
        """Pass it on."""
        self._inner.on_half_close()

    def on_closed(self) -> None:
        """Pass it on."""
        self._member.auth.on_change.discard(self._judge_again)
        self._inner.on_closed()


def cancel_reason(code: ErrorCode) -> str:
    """Return an error as grpc-go prints it, which is how etcd tells why a watch is refused."""
    status, text = ERRORS[code]
    name = GrpcStatus(status).name.title().replace("_", "")
    return f"rpc error: code = {name} desc = {text}"
