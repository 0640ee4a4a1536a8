"""Batches hold the commands that were added, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftkv._native.command_batch import CommandBatch, check_batch, read_commands, read_header
from raftkv.server.command import NobodyWaits

LARGE_BYTES = 32 << 10
"""From here on, a payload is not copied before the batch is sealed or another follows."""

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
