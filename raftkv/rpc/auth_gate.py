"""The one place that every call passes: who asks, may he, and is that still so when it happens.

Services register with a `GuardedMethodTable` and know nothing of users. While authentication is
off a call costs one `is None` more. While it is on:

- the caller's name comes from the call's metadata or certificate (`auth_identity`), and the
  method's rule (`auth_rules`) judges the request by what this member has applied;
- what a handler then proposes is stamped with the revision of users and roles that it was judged
  under, and refused where another holds when it is applied (`server/auth_stamp`);
- what a handler reads is judged once more when the answer leaves: a linearizable read has caught up
  by then, so that nothing is told to who had lost the right to it before he asked. The same goes
  for what was asked before this member had heard that authentication is on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from google.protobuf.message import Message

from raftkv._native.http2 import MethodTable, Stream, StreamHandler
from raftkv._native.http2_handler import LargeHandler
from raftkv._native.kv_path import KvPath
from raftkv._native.waiter import Waiter
from raftkv.errors import ErrorCode
from raftkv.rpc.auth_call import GuardedCall, UnaryCall
from raftkv.rpc.auth_identity import NOBODY, Identity
from raftkv.rpc.auth_judged import JudgedStream
from raftkv.rpc.auth_rules import FREE, Facts, Rule, always, rule_for
from raftkv.rpc.auth_watch import GuardedWatch
from raftkv.rpc.rate_limits import RateLimits
from raftkv.rpc.watch import WatchCall
from raftkv.server.auth_stamp import CHECKED
from raftkv.server.member import Member
from raftkv.server.reads import Serve
from raftkv.server.store import Store

__all__ = ["AuthGate", "GuardedMethodTable"]

UnaryHandler = Callable[[Stream, bytes], object]
OpenHandler = Callable[[Stream], StreamHandler]

WATCH = "/etcdserverpb.Watch/Watch"
KV = "/etcdserverpb.KV/"


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
        if isinstance(handler, KvPath):  # which does nothing itself while there are users
            handler.slow_handle = self.unary(path, handler.slow_handle)
            return handler
        auth, rule = self._auth, None if path in FREE else rule_for(path)
        # rpc/kv has a cheaper way to notice that its reads were asked while there were no users.
        is_judged_late = rule is not None and rule.reads is always and not path.startswith(KV)

        def guarded(stream: Stream, message: bytes) -> object:
            if auth.stamp is None and not is_judged_late:
                return handler(stream, message)
            if rule is None:
                return self.enter(NOBODY, handler, stream, message)
            return UnaryCall(self, rule, handler, stream, message).begin()

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

    def judge_of(
        self, rule: Rule, stream: Stream, name: str | ErrorCode, request: Message | None
    ) -> Callable[[], ErrorCode | None]:
        """Return what says why an answer that is about to leave may not be seen, if so.

        Where users have changed since now, the token is looked at again, too: it may be void.
        """
        stamp = self._auth.stamp

        def judge() -> ErrorCode | None:
            if self.is_open:
                return None
            caller = name if self._auth.stamp is stamp else self.name_of(stream)
            return self.refuse_by_name(rule, caller, request)

        return judge

    def late_judge_of(
        self, rule: Rule, stream: Stream, message: bytes
    ) -> Callable[[], ErrorCode | None]:
        """The same for what was asked while authentication was off, as far as was known here."""

        def judge() -> ErrorCode | None:
            if self.is_open:
                return None
            request = rule.request.FromString(message) if rule.request else None
            return self.refuse_by_name(rule, self.name_of(stream), request)

        return judge

    @property
    def can_catch_up(self) -> bool:
        """Whether there is a leader to ask."""
        return self._member.node.leader_id != 0

    def catch_up(self, go_on: Serve, waiter: Waiter) -> None:
        """Call `go_on` once this member is level with now, or `waiter.fail` where it cannot be."""
        self._member.read(go_on, waiter, b"")


class GuardedMethodTable(MethodTable):
    """A table of routes whose handlers the gate guards."""

    def __init__(self, gate: AuthGate) -> None:
        self._gate = gate

    def unary(
        self, path: bytes, handler: UnaryHandler, large_handler: LargeHandler | None = None
    ) -> None:
        """Route a path to a guarded handler; what stands before that sees large messages, too."""
        name = path.decode()
        guarded = self._gate.unary(name, self._gate.limits.unary(name, handler))
        super().unary(path, guarded, large_handler if guarded is handler else None)

    def streaming(self, path: bytes, open_handler: OpenHandler) -> None:
        """Route a path to an opener of guarded handlers."""
        super().streaming(path, self._gate.streaming(path.decode(), open_handler))
