"""The table of the limits' bench says what was measured."""

import os

from bench.limits import CASES, Result, memory, table
from bench.limits_probe import quantile_ms


def test_quantiles_are_of_the_ordered_values() -> None:
    values = [number / 1000 for number in range(100, 0, -1)]
    assert quantile_ms(values, 0.5) == 51.0
    assert quantile_ms(values, 0.99) == 100.0
    assert quantile_ms([0.002], 0.99) == 2.0


def test_the_table_has_medians_and_their_ratio() -> None:
    result = Result(CASES[0], rss_before=10 << 20, rss_peak=12 << 20, file_peak=5 << 20)
    result.without = {"read": [1.0, 9.0, 2.0], "write": [4.0]}
    result.strained = {"read": [3.0], "write": [5.0]}
    row = table([result], 3).splitlines()[-1]
    assert row == (
        f"| {CASES[0].title} | 10 → 12 MiB | 5 MiB | 2.0 → 3.0 ms (1.50 ×)"
        " | 4.0 → 5.0 ms (1.25 ×) |"
    )


def test_memory_of_a_process_is_read() -> None:
    anonymous, file = memory(os.getpid())
    assert anonymous > 1 << 20
    assert file > 1 << 20
