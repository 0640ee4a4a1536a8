"""Percentiles are right to within a bucket, whatever the values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.native.histogram import Histogram


def histogram(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.record(value)
    return made


@given(
    st.lists(st.integers(0, (1 << 43) - 1), min_size=1),
    st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999, 1.0]),
)
def test_quantile_is_at_most_one_bucket_above_the_exact_one(
    values: list[int], fraction: float
) -> None:
    exact = sorted(values)[max(1, math.ceil(fraction * len(values))) - 1]
    told = histogram(values).quantile(fraction)
    assert exact <= told <= max(exact * (1 + 1 / 128), exact)


@given(st.lists(st.integers(0, 1 << 50)), st.lists(st.integers(0, 1 << 50)))
def test_merging_is_recording_both(left: list[int], right: list[int]) -> None:
    merged, both = histogram(left), histogram(left + right)
    merged.merge(histogram(right))
    assert (merged.steps(), merged.total, merged.max_ns) == (both.steps(), both.total, both.max_ns)
    assert merged.mean_ns == both.mean_ns


def test_empty_and_out_of_range() -> None:
    empty = Histogram()
    assert (empty.quantile(0.99), empty.max_ns, empty.mean_ns, empty.steps()) == (0, 0, 0.0, [])
    made = histogram([-5, 1 << 60])
    assert (made.quantile(0.5), made.max_ns, made.total) == (0, 1 << 60, 2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        made.quantile(1.5)


def test_steps_end_with_all_values() -> None:
    assert histogram([1, 1, 1000, 5]).steps()[-1][1] == 4
