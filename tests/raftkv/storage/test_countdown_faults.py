"""Fail the n-th write, sync or rename of each operation, n = 1, 2, 3 ... until it succeeds."""

from __future__ import annotations

import pytest

from tests.raftkv.storage.countdown_child import OPERATIONS
from tests.raftkv.storage.faulty_disk import run_child


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_an_operation_that_fails_at_any_call_is_undone_or_done(operation: str) -> None:
    lines = run_child("countdown_child", operation).splitlines()
    assert len(lines) == 5
    for line in lines:
        calls = int(line.split(":")[1].split()[0])
        assert calls >= 3, f"the faults do not reach the operation: {line}"
