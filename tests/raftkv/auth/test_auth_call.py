"""What waits behind a refusal keeps its order, within bounds."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from raftkv._native.http2 import Stream
from raftkv.errors import GrpcStatus
from raftkv.rpc import auth_call
from raftkv.rpc.auth_call import InOrder
from raftkv.rpc.grpc_status import RpcError


class Gate:
    """A member that is level when told so."""

    def __init__(self) -> None:
        self.can_catch_up = True
        self.waiting: list[tuple[Callable[..., object], Any]] = []

    def catch_up(self, go_on: Callable[..., object], waiter: Any) -> None:
        self.waiting.append((go_on, waiter))

    def be_level(self) -> None:
        waiting, self.waiting = self.waiting, []
        for go_on, waiter in waiting:
            go_on(waiter, b"")

    def give_up(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _, waiter in waiting:
            waiter.fail(14, "no leader")


class End:
    closed = False
    ended: tuple[int, str] | None = None

    def finish(self, code: int = 0, text: str = "") -> None:
        self.ended = (code, text)


class Messages(InOrder):
    """Refuses what is in `refused`."""

    def __init__(self, gate: Gate, stream: End, refused: set[bytes]) -> None:
        super().__init__(cast(Any, gate), cast(Stream, stream), self._judge)
        self.refused = refused
        self.done: list[str] = []

    def _judge(self, message: bytes, is_final: bool) -> bool:
        if message not in self.refused:
            self.done.append(message.decode())
        elif is_final:
            self.done.append(f"no {message.decode()}")
        else:
            return False
        return True

    def on_end(self) -> None:
        self.done.append("end")


def test_what_is_allowed_goes_through_at_once() -> None:
    messages = Messages(Gate(), End(), set())
    messages.take(b"a")
    assert not messages.take(None)
    assert messages.done == ["a"]


def test_messages_wait_behind_one_that_would_be_refused() -> None:
    """It is allowed after all once the member is level; the order is the client's."""
    gate = Gate()
    messages = Messages(gate, End(), {b"b"})
    for message in (b"a", b"b", b"c", None):
        assert messages.take(message)
    assert messages.done == ["a"]
    messages.refused.clear()
    gate.be_level()
    assert messages.done == ["a", "b", "c", "end"]
    assert messages.take(b"d")
    assert messages.done[-1] == "d"


def test_each_refusal_is_a_new_one_s() -> None:
    gate = Gate()
    messages = Messages(gate, End(), {b"b", b"d"})
    for message in (b"b", b"c", b"d", b"e"):
        messages.take(message)
    gate.be_level()
    assert messages.done == ["no b", "c"], "what d may be is not known yet"
    gate.be_level()
    assert messages.done == ["no b", "c", "no d", "e"]
    assert not gate.waiting


def test_without_a_leader_what_is_known_decides() -> None:
    gate = Gate()
    messages = Messages(gate, End(), {b"b"})
    messages.take(b"b")
    gate.give_up()
    assert messages.done == ["no b"]
    gate.can_catch_up = False
    messages.take(b"b")
    assert messages.done == ["no b", "no b"]
    assert not gate.waiting


def test_what_waits_is_bounded() -> None:
    gate, end = Gate(), End()
    messages = Messages(gate, end, {b"b"})
    for _ in range(auth_call.HELD_MAX):
        messages.take(b"b")
    assert end.ended is None
    messages.take(b"b")
    assert end.ended == (8, "too many requests waiting")


def test_a_stream_that_has_ended_is_forgotten() -> None:
    gate, end = Gate(), End()
    messages = Messages(gate, end, {b"b"})
    messages.take(b"b")
    end.closed = True
    gate.be_level()
    assert not messages.done


def test_what_goes_wrong_ends_the_stream_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs in the member's turn, which must not fail."""
    gate, end = Gate(), End()
    messages = Messages(gate, end, {b"b"})
    messages.take(b"b")

    def fail(_message: bytes, _is_final: bool) -> bool:
        raise RpcError(GrpcStatus.UNKNOWN, "broken")

    monkeypatch.setattr(messages, "_process", fail)
    gate.be_level()
    assert end.ended == (2, "broken")
