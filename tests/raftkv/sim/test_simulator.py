"""A batch of seeds through the simulator, and its own promises."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from raftkv.testing.sim.plan import draw_plan
from raftkv.testing.sim.trace import Trace
from raftkv.testing.sim.world import run

FIRST_SEED = 100
"""Seeds of the batch differ from those that anybody runs by hand first."""


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + 12))
def test_no_promise_is_broken(seed: int) -> None:
    """Safety after every event, then agreement, linearizability, watches and leases."""
    run(draw_plan(seed))


@pytest.mark.parametrize("seed", [4927, 6395])
def test_what_once_broke_stays_mended(seed: int) -> None:
    """Seeds of `tests/TRACK_RECORD.md`, as they were when no run changed the membership."""
    run(replace(draw_plan(seed), changes=(), chunk_bytes=1 << 20, corrupt_check_s=0.0))


def test_one_seed_is_one_run() -> None:
    """The same seed gives the same trace, byte for byte, and another one another."""

    def trace(seed: int) -> str:
        lines = Trace()
        run(draw_plan(seed), lines)
        return lines.text()

    first = trace(3)
    assert first == trace(3)
    assert first != trace(4)
    assert "fault: " in first
    assert "applies" in first


def test_one_seed_is_one_run_in_every_process() -> None:
    """Nothing depends on the hash seed or on what ran before."""

    def digest(hash_seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "raftkv.testing.sim", "--seed", "7"],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith("seed 7: ")
        return done.stdout.rsplit("trace ", 1)[1].strip()

    assert digest("1") == digest("2")
