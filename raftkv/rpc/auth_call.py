"""Calls on their way through the gate: judged, caught up before a refusal, begun anew where due.

A member may lag behind what another has answered. What it *allows* by old knowledge is refused at
apply, or when the answer leaves; what it would *refuse* by old knowledge waits until it is level
(one read round, shared by all that wait), so that a right is good on every member as soon as who
granted it has the answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from google.protobuf.message import DecodeError, Message

from raftkv._native.http2 import Stream, StreamHandler
from raftkv.errors import ERRORS, ErrorCode, GrpcStatus
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.rpc.auth_identity import NOBODY
from raftkv.rpc.auth_judged import JudgedStream
from raftkv.rpc.auth_rules import Rule
from raftkv.rpc.grpc_status import status_of

if TYPE_CHECKING:
    from raftkv.rpc.auth_gate import AuthGate

__all__ = ["GuardedCall", "InOrder", "UnaryCall"]

AGAIN_MAX = 32
"""How often a call is judged anew because users, roles or permissions changed under it."""

AGAIN_AFTER_S = 0.002
"""How much longer each further attempt waits."""

HELD_MAX = 1000
"""Messages of one stream that may wait behind one that would be refused; one more ends it."""

UnaryHandler = Callable[[Stream, bytes], object]


class UnaryCall:
    """One call of a unary method that is judged, now or, where there are no users yet, late."""

    def __init__(
        self, gate: AuthGate, rule: Rule, handler: UnaryHandler, stream: Stream, message: bytes
    ) -> None:
        self._gate = gate
        self._rule = rule
        self._handler = handler
        self._stream = stream
        self._message = message
        self._attempts = AGAIN_MAX
        self._is_level = False
        self._refusal = ErrorCode.PERMISSION_DENIED

    def begin(self) -> object:
        """Judge the call and hand it on, or refuse it."""
        gate, rule, stream = self._gate, self._rule, self._stream
        if gate.is_open:
            unjudged = JudgedStream(stream)
            if rule.reads(gate.store, self._message):
                unjudged.watch_over(gate.late_judge_of(rule, stream, self._message))
            return self._handler(cast(Stream, unjudged), self._message)
        if rule.malformed is not None:
            code = rule.malformed(gate.store, self._message)
            if code:
                return stream.fail(*ERRORS[ErrorCode(code)])
        try:
            request = rule.request.FromString(self._message) if rule.request else None
        except DecodeError as error:
            return stream.fail(*status_of(error))
        name = gate.name_of(stream)
        refusal = gate.refuse_by_name(rule, name, request)
        if refusal or isinstance(name, ErrorCode):
            return self._refuse(refusal or ErrorCode.PERMISSION_DENIED, request)
        judged = self._judged(name, request)
        caller = name if rule.at_apply else NOBODY
        return gate.enter(caller, self._handler, cast(Stream, judged), self._message)

    def _judged(self, name: str, request: Message | None) -> JudgedStream:
        """Return the stream that the handler is to answer to."""
        gate, rule = self._gate, self._rule
        judged = JudgedStream(self._stream)
        if rule.reads(gate.store, self._message):
            judged.watch_over(gate.judge_of(rule, self._stream, name, request))
        if rule.again and self._attempts:
            self._attempts -= 1
            judged.try_again(self._begin_anew)
        return judged

    def _begin_anew(self) -> None:
        """Begin again, each time a little later: those who change users one after the other must
        not keep step with those whom that refuses."""
        tried = AGAIN_MAX - self._attempts
        asyncio.get_running_loop().call_later((tried - 1) * AGAIN_AFTER_S, self._begin_if_wanted)

    def _begin_if_wanted(self) -> None:
        """Begin, unless the caller has gone; what goes wrong ends this call, not the turn."""
        if self._stream.closed:
            return
        try:
            self.begin()
        except Exception as error:
            self._stream.finish(*status_of(error))

    def _refuse(self, refusal: ErrorCode, request: Message | None) -> object:
        if self._is_level or _is_local(request) or not self._gate.can_catch_up:
            return self._stream.fail(*ERRORS[refusal])
        self._is_level = True
        self._refusal = refusal
        self._gate.catch_up(self._go_on, self)
        return None

    def _go_on(self, _waiter: object, _request: bytes) -> None:
        self._begin_if_wanted()

    # The waiter of the read round.

    def reply(self, _message: bytes) -> None:
        """Never called: `_go_on` is."""

    def fail(self, _code: int, _text: str) -> None:
        """Refuse by what is known, since more cannot be learnt now."""
        self._stream.fail(*ERRORS[self._refusal])


def _is_local(request: Message | None) -> bool:
    """Tell whether a call asks for this member's own view, level or not."""
    match request:
        case pb.RangeRequest():
            return request.serializable
        case pb.StatusRequest():
            return True
        case _:
            return False


class InOrder:
    """The messages of a stream, judged one after the other; a refusal waits as a call's does."""

    def __init__(
        self, gate: AuthGate, stream: Stream, process: Callable[[bytes, bool], bool]
    ) -> None:
        """`process(message, is_final)` returns False where it refuses, and nothing is done then
        unless it is final."""
        self._gate = gate
        self._stream = stream
        self._process = process
        self._held: deque[bytes | None] = deque()
        """What waits, the would-be refused first; None is the client's end."""

    def take(self, message: bytes | None) -> bool:
        """Process a message, or hold it; False where the end (None) can be passed on at once."""
        if self._held:
            if len(self._held) >= HELD_MAX:
                text = "too many requests waiting"
                self._stream.finish(int(GrpcStatus.RESOURCE_EXHAUSTED), text)
            else:
                self._held.append(message)
            return True
        if message is None:
            return False
        if not self._process(message, not self._gate.can_catch_up):
            self._held.append(message)
            self._gate.catch_up(self._go_on, self)
        return True

    def _go_on(self, _waiter: object, _request: bytes) -> None:
        """Go on with what is held; what goes wrong ends this stream, not the turn."""
        if self._stream.closed:
            self._held.clear()
            return
        try:
            self._process_held()
        except Exception as error:
            self._held.clear()
            self._stream.finish(*status_of(error))

    def _process_held(self) -> None:
        is_final = True
        while self._held:
            message = self._held[0]
            if message is not None and not self._process(message, is_final):
                self._gate.catch_up(self._go_on, self)
                return
            is_final = False
            self._held.popleft()
            if message is None:
                self.on_end()

    def on_end(self) -> None:
        """Pass the client's end on, after what it had said before."""

    # The waiter of the read round.

    def reply(self, _message: bytes) -> None:
        """Never called: `_go_on` is."""

    def fail(self, _code: int, _text: str) -> None:
        """Judge by what is known, since more cannot be learnt now."""
        self._go_on(self, b"")


class GuardedCall(InOrder):
    """A streaming call each of whose messages is judged; one refused ends the call."""

    def __init__(
        self, gate: AuthGate, rule: Rule, judged: JudgedStream, inner: StreamHandler
    ) -> None:
        super().__init__(gate, judged.stream, self._judge)
        self._rule = rule
        self._judged = judged
        self._inner = inner

    def on_message(self, message: bytes) -> None:
        """Judge one message and pass it on."""
        self.take(message)

    def _judge(self, message: bytes, is_final: bool) -> bool:
        gate, rule, stream = self._gate, self._rule, self._stream
        if gate.is_open:
            self._inner.on_message(message)
            return True
        try:
            request = rule.request.FromString(message) if rule.request else None
        except DecodeError as error:
            stream.finish(*status_of(error))
            return True
        name = gate.name_of(stream)
        refusal = gate.refuse_by_name(rule, name, request)
        if refusal:
            if is_final:
                stream.finish(*ERRORS[refusal])
            return is_final
        if rule.reads(gate.store, message):
            self._judged.watch_over(gate.judge_of(rule, stream, name, request))
        gate.enter(NOBODY, self._inner.on_message, message)
        return True

    def on_half_close(self) -> None:
        """Pass it on, in its turn."""
        if not self.take(None):
            self.on_end()

    def on_end(self) -> None:
        """Pass it on."""
        self._inner.on_half_close()

    def on_closed(self) -> None:
        """Pass it on."""
        self._inner.on_closed()
