"""The one place that every call passes: who asks, may he, and is that still so when it happens.

Services register with a `GuardedMethodTable` and know nothing of users. While authentication is
off a call costs one `is None` more. While it is on:

- the caller's name comes from the call's metadata or certificate (`auth_identity`), and the
  method's rule (`auth_rules`) judges the request by what this member has applied;
- what a handler then proposes is stamped with the revision of users and roles that it was judged
  under, and refused where another holds when it is applied (`server/auth_stamp`);
- what a handler reads is judged once more when the answer leaves: a linearizable read has caught up
  by then, so that nothing is told to who had lost the right to it before he asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from google.protobuf.message import DecodeError, Message

from raftkv._native.http2 import MethodTable, Stream, StreamHandler
from raftkv.errors import ERRORS, ErrorCode
from raftkv.rpc.auth_identity import NOBODY, Identity
from raftkv.rpc.auth_judged import JudgedStream
from raftkv.rpc.auth_rules import FREE, Facts, Rule, rule_for
from raftkv.rpc.auth_watch import GuardedWatch
from raftkv.rpc.grpc_status import status_of
from raftkv.rpc.rate_limits import RateLimits
from raftkv.rpc.watch import WatchCall
from raftkv.server.auth_stamp import CHECKED
from raftkv.server.member import Member
from raftkv.server.store import Store

__all__ = ["AuthGate", "GuardedMethodTable"]

UnaryHandler = Callable[[Stream, bytes], object]
OpenHandler = Callable[[Stream], StreamHandler]

WATCH = "/etcdserverpb.Watch/Watch"

AGAIN_MAX = 32
"""How often a call is judged anew because users, roles or permissions changed under it."""


class AuthGate:
    """Judges the calls of one member's clients."""

    def __init__(self, member: Member, identity: Identity) -> None:
        self._member = member
        self._auth = member.auth
        self._identity = identity
        self._facts = Facts(member.auth.store, member.store)
        self.limits = RateLimits(member.config.rate_limits, self._caller)

    def unary(self, path: str, handler: UnaryHandler) -> UnaryHandler:
        """Return a handler that lets through to `handler` what is allowed."""
        auth, rule = self._auth, None if path in FREE else rule_for(path)

        def guarded(stream: Stream, message: bytes) -> object:
            if auth.stamp is None:
                return handler(stream, message)
            if rule is None:
                return self.enter(NOBODY, handler, stream, message)
            return self._judge_call(rule, handler, stream, message, AGAIN_MAX)

        return guarded

    def streaming(self, path: str, open_handler: OpenHandler) -> OpenHandler:
        """Return an opener whose handlers let through what is allowed."""
        if path in FREE:
            return open_handler
        rule = rule_for(path)

        def guarded(stream: Stream) -> StreamHandler:
            if path == WATCH:
                return GuardedWatch(
                    self, rule, stream, cast(WatchCall, open_handler(stream)), self._member
                )
            judged = JudgedStream(stream)
            return GuardedCall(self, rule, judged, open_handler(cast(Stream, judged)))

        return guarded

    def _caller(self, stream: Stream) -> str:
        """Return who asks, for limits: a certificate's name counts without authentication, too."""
        name = stream.peer_common_name if self.is_open else self._identity.of(stream)
        return NOBODY if isinstance(name, ErrorCode) else name

    @property
    def store(self) -> Store:
        """What rules look into."""
        return self._member.store

    @property
    def is_open(self) -> bool:
        """Whether authentication is off."""
        return self._auth.stamp is None

    def refuse(self, rule: Rule, stream: Stream, request: Message | None) -> ErrorCode | None:
        """Return why this call may not be, if so."""
        return self.refuse_by_name(rule, self._identity.of(stream), request)

    def name_of(self, stream: Stream) -> str | ErrorCode:
        """Return who calls, or what is wrong with his token."""
        return self._identity.of(stream)

    def refuse_by_name(
        self, rule: Rule, name: str | ErrorCode, request: Message | None
    ) -> ErrorCode | None:
        """Return why somebody may not, if so."""
        if isinstance(name, ErrorCode):
            return name
        return rule.refuse(self._facts, name, request)

    def enter(self, name: str, handler: Callable[..., object], *arguments: object) -> object:
        """Call what was just allowed, so that it proposes under this moment's stamp.

        With a name, what is proposed is judged once more as it is applied.
        """
        assert self._auth.stamp is not None
        token = CHECKED.set(self._auth.stamp + name.encode())
        try:
            return handler(*arguments)
        finally:
            CHECKED.reset(token)

    def _judge_call(
        self, rule: Rule, handler: UnaryHandler, stream: Stream, message: bytes, attempts: int
    ) -> object:
        if rule.malformed is not None:
            code = rule.malformed(self._member.store, message)
            if code:
                return stream.fail(*ERRORS[ErrorCode(code)])
        try:
            request = rule.request.FromString(message) if rule.request else None
        except DecodeError as error:
            return stream.fail(*status_of(error))
        name = self._identity.of(stream)
        refusal = self.refuse_by_name(rule, name, request)
        if refusal or isinstance(name, ErrorCode):
            return stream.fail(*ERRORS[refusal or ErrorCode.PERMISSION_DENIED])
        judged = JudgedStream(stream)
        if rule.reads(self._member.store, message):
            judged.watch_over(lambda: self._refuse_now(rule, name, request))
        if rule.again and attempts:
            judged.try_again(lambda: self._again(rule, handler, stream, message, attempts - 1))
        caller = name if rule.at_apply else NOBODY
        return self.enter(caller, handler, cast(Stream, judged), message)

    def _again(
        self, rule: Rule, handler: UnaryHandler, stream: Stream, message: bytes, attempts: int
    ) -> object:
        if self.is_open:
            return handler(stream, message)
        return self._judge_call(rule, handler, stream, message, attempts)

    def _refuse_now(self, rule: Rule, name: str, request: Message | None) -> ErrorCode | None:
        """Return why somebody may not see an answer that is about to leave, if so."""
        return None if self.is_open else self.refuse_by_name(rule, name, request)


class GuardedCall:
    """A streaming call each of whose messages is judged; one refused ends the call."""

    def __init__(
        self, gate: AuthGate, rule: Rule, judged: JudgedStream, inner: StreamHandler
    ) -> None:
        self._gate = gate
        self._rule = rule
        self._judged = judged
        self._inner = inner

    def on_message(self, message: bytes) -> None:
        """Judge one message and pass it on."""
        gate, stream = self._gate, self._judged.stream
        if gate.is_open:
            self._inner.on_message(message)
            return
        try:
            request = self._rule.request.FromString(message) if self._rule.request else None
        except DecodeError as error:
            stream.finish(*status_of(error))
            return
        refusal = gate.refuse(self._rule, stream, request)
        if refusal:
            stream.finish(*ERRORS[refusal])
            return
        if self._rule.reads(gate.store, message):
            self._judged.watch_over(
                lambda: None if gate.is_open else gate.refuse(self._rule, stream, request)
            )
        gate.enter(NOBODY, self._inner.on_message, message)

    def on_half_close(self) -> None:
        """Pass it on."""
        self._inner.on_half_close()

    def on_closed(self) -> None:
        """Pass it on."""
        self._inner.on_closed()


class GuardedMethodTable(MethodTable):
    """A table of routes whose handlers the gate guards."""

    def __init__(self, gate: AuthGate) -> None:
        self._gate = gate

    def unary(self, path: bytes, handler: UnaryHandler) -> None:
        """Route a path to a guarded handler."""
        name = path.decode()
        super().unary(path, self._gate.unary(name, self._gate.limits.unary(name, handler)))

    def streaming(self, path: bytes, open_handler: OpenHandler) -> None:
        """Route a path to an opener of guarded handlers."""
        super().streaming(path, self._gate.streaming(path.decode(), open_handler))
