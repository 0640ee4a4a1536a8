"""What was asked before a member heard that authentication is on is judged as its answer leaves."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from raftkv._native.http2 import Stream
from raftkv.auth.store import AuthStore
from raftkv.errors import ERRORS, ErrorCode
from raftkv.rate_limit import RateLimitConfig
from raftkv.rpc.auth_gate import AuthGate

USER_LIST = "/etcdserverpb.Auth/UserList"
RANGE = "/etcdserverpb.KV/Range"


class End:
    """A client's stream."""

    closed = False
    answer: bytes | tuple[int, str] | None = None

    def reply(self, message: bytes) -> bool:
        self.answer = message
        return True

    def fail(self, code: int, text: str) -> bool:
        self.answer = (code, text)
        return True


def gate_of(auth: SimpleNamespace, name: str | ErrorCode) -> AuthGate:
    member = SimpleNamespace(
        auth=auth, store=None, config=SimpleNamespace(rate_limits=RateLimitConfig())
    )
    return AuthGate(cast(Any, member), cast(Any, SimpleNamespace(of=lambda _stream: name)))


@pytest.mark.parametrize("name", [ErrorCode.INVALID_AUTH_TOKEN, ErrorCode.USER_EMPTY])
def test_who_may_not_is_not_told(name: ErrorCode) -> None:
    auth = SimpleNamespace(stamp=None, store=AuthStore())
    held: list[Stream] = []
    handler = gate_of(auth, name).unary(USER_LIST, lambda stream, _message: held.append(stream))
    first, second = End(), End()
    handler(cast(Stream, first), b"")
    handler(cast(Stream, second), b"")
    held[0].reply(b"u")
    assert first.answer == b"u", "there are no users yet"
    auth.stamp = b"1"
    held[1].reply(b"u")
    assert second.answer == ERRORS[name]


def test_ranges_are_not_wrapped_while_there_are_no_users() -> None:
    """They are many, and look after themselves."""
    held: list[Stream] = []
    auth = SimpleNamespace(stamp=None, store=AuthStore())
    end = cast(Stream, End())
    gate_of(auth, "").unary(RANGE, lambda stream, _message: held.append(stream))(end, b"")
    assert held == [end]
