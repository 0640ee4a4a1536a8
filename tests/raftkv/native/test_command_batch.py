"""Batches hold the commands that were added, in order."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftkv._native.command_batch import CommandBatch, check_batch, read_commands, read_header
from raftkv._native.padded_message import PaddedMessage
from raftkv.server.command import NobodyWaits

LARGE_BYTES = 32 << 10
"""From here on, a payload is not copied before the batch is sealed or another follows."""
HEADROOM_BYTES = 25
"""Header of a batch, and head of its first command."""

sizes = st.sampled_from((0, 1, 100, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 1 << 20))


@given(st.lists(st.tuples(st.integers(1, 255), sizes), min_size=1, max_size=8))
def test_what_was_added_is_read(added: list[tuple[int, int]]) -> None:
    """Small and large commands in any order, also where a batch goes on after it was sealed."""
    batch = CommandBatch()
    commands: list[tuple[int, bytes]] = []
    for number, (kind, size) in enumerate(added):
        commands.append((kind, bytes((number + 1,)) * size))
        batch.add(*commands[-1], NobodyWaits())
        assert batch.size_bytes == sum(5 + len(payload) for _, payload in commands)
        sealed = batch.seal(7, number)
        assert len(sealed) == 20 + batch.size_bytes
        assert read_header(sealed) == (7, number, len(commands), commands[0][0])
        assert check_batch(sealed) == number
        assert read_commands(sealed) == commands


@pytest.mark.parametrize("size", [1, LARGE_BYTES])
def test_waiters_are_in_the_order_of_their_commands(size: int) -> None:
    waiters = [NobodyWaits() for _ in range(3)]
    batch = CommandBatch()
    for waiter in waiters:
        batch.add(1, bytes(size), waiter)
    assert batch.waiters == waiters


def batch_of(commands: Iterable[tuple[bool, int, bytes]]) -> CommandBatch:
    """Add commands, as padded messages where the first of three says so."""
    batch = CommandBatch()
    for is_padded, kind, payload in commands:
        if is_padded:
            batch.add_padded(kind, PaddedMessage(payload, HEADROOM_BYTES), NobodyWaits())
        else:
            batch.add(kind, payload, NobodyWaits())
    return batch


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 255), sizes), min_size=1, max_size=6))
def test_padded_commands_make_the_same_batch(added: list[tuple[bool, int, int]]) -> None:
    """Alone, before others, after others; and sealed again after each."""
    commands = [(padded, kind, bytes((kind,)) * size) for padded, kind, size in added]
    for count in range(1, len(commands) + 1):
        padded, plain = batch_of(commands[:count]), CommandBatch()
        for _, kind, payload in commands[:count]:
            plain.add(kind, payload, NobodyWaits())
        assert padded.size_bytes == plain.size_bytes
        assert padded.seal(3, count) == plain.seal(3, count)
        assert padded.seal(4, count) == plain.seal(4, count)


@pytest.mark.parametrize("size", [0, 1, LARGE_BYTES, 3 << 19])
def test_a_sealed_batch_stays_as_it_is(size: int) -> None:
    """Though the first is made of the message itself: later ones are made of copies."""
    batch = batch_of([(True, 1, bytes(size))])
    first = batch.seal(7, 1)
    kept = bytes(bytearray(first))
    assert batch.seal(8, 2) is not first
    batch.add(1, b"more", NobodyWaits())
    later = batch.seal(9, 3)
    assert first == kept
    assert read_header(first) == (7, 1, 1, 1)
    assert read_commands(later) == [(1, bytes(size)), (1, b"more")]


@pytest.mark.parametrize("others", [[], [(False, 1, b"small")]])
def test_a_large_message_is_copied_only_beside_others(
    others: list[tuple[bool, int, bytes]],
) -> None:
    size = 4 << 20
    batch = batch_of([*others, (True, 1, bytes(size))])
    tracemalloc.start()
    try:
        sealed = batch.seal(7, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(sealed) == 20 + batch.size_bytes
    assert (peak >= size) == bool(others)


def test_a_padded_message_is_taken_once() -> None:
    message = PaddedMessage(b"payload", HEADROOM_BYTES)
    assert message.message() == b"payload"
    batch, other = CommandBatch(), CommandBatch()
    batch.add_padded(1, message, NobodyWaits())
    with pytest.raises(ValueError, match="taken already"):
        other.add_padded(1, message, NobodyWaits())
    with pytest.raises(ValueError, match="taken already"):
        message.message()
    assert len(other) == other.size_bytes == 0
    assert read_commands(batch.seal(7, 1)) == [(1, b"payload")]


@pytest.mark.parametrize("headroom", [0, HEADROOM_BYTES - 1, HEADROOM_BYTES + 1])
def test_a_message_with_other_headroom_is_left_alone(headroom: int) -> None:
    batch, message = CommandBatch(), PaddedMessage(b"payload", headroom)
    with pytest.raises(ValueError, match="headroom of 25 bytes"):
        batch.add_padded(1, message, NobodyWaits())
    assert len(batch) == batch.size_bytes == 0
    assert message.message() == b"payload"
