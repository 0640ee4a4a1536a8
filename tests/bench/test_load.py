"""Reading h2load's report: a run that lost answers must not become a figure."""

from __future__ import annotations

import pytest

from bench.load import parse

REPORT = """
finished in 50.55ms, 39564.78 req/s, 5.24MB/s
requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx
                     min         max         mean         sd        +/- sd
time for request:      304us     43.66ms     22.82ms     12.10ms    57.50%
"""


def test_rate_and_mean_are_read() -> None:
    measured = parse(REPORT, 2000)
    assert (measured.requests_per_s, measured.mean_ms) == (39564.78, 22.82)


def test_a_run_with_missing_answers_is_refused() -> None:
    with pytest.raises(RuntimeError, match="did not get 2001 answers"):
        parse(REPORT, 2001)
