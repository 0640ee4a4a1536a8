"""Each hot path, native and plain, in the same table: `make bench-micro`."""

from __future__ import annotations

from typing import Any

import pytest

from bench.hot_paths import PATHS, UNITS

ROUNDS = 100
PLAIN_ROUNDS = 10


@pytest.mark.parametrize("name", list(PATHS))
@pytest.mark.parametrize("twin", ["native", "plain"])
def bench_path(benchmark: Any, name: str, twin: str) -> None:
    """One round is one unit of work, as its docstring says."""
    benchmark.group = f"{name}: {PATHS[name].__doc__}"
    rounds = min(UNITS, ROUNDS) if twin == "native" else PLAIN_ROUNDS
    with PATHS[name](twin == "native") as path:
        units = iter(range(UNITS))
        benchmark.pedantic(
            path.run, setup=lambda: ((next(units),), {}), rounds=rounds, warmup_rounds=2
        )
