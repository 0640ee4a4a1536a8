"""The scheduler's bench runs, and measures the same work each time."""

from __future__ import annotations

import pytest

from bench.scheduler import SHAPES, measure


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_size_gives_the_same_placements(shape: str) -> None:
    first, second = (measure(shape, nodes=30, pods=60) for _ in range(2))
    assert first.digest == second.digest
    assert first.pods_per_second > 0
