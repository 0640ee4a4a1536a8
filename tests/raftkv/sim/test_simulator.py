"""A batch of seeds through the simulator, and its own promises."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from raftkv.testing.sim import worlds
from raftkv.testing.sim.plan import TICK_US, draw_plan
from raftkv.testing.sim.scheduler import SECOND
from raftkv.testing.sim.trace import Trace
from raftkv.testing.sim.world import run

FIRST_SEED = 100
"""Seeds of the batch differ from those that anybody runs by hand first."""


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + 12))
def test_no_promise_is_broken(seed: int) -> None:
    """Safety after every event, then agreement, linearizability, watches and leases."""
    run(draw_plan(seed))


def test_a_delete_without_an_answer_is_no_end_of_a_lease() -> None:
    """It deletes all keys of a lease that has to live, which is not the lease's end."""
    run(draw_plan(1020))


@pytest.mark.parametrize("seed", [6334, 7488])
def test_who_has_the_longest_log_learns_that_a_change_is_done(seed: int) -> None:
    """The only other member that is left knows it, and votes; the former leader ended."""
    run(draw_plan(seed))


@pytest.mark.parametrize(
    ("world", "seed"),
    [(worlds.changing, 45), (worlds.jointly, 34), (worlds.snapshotting, 56)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_worlds(world: worlds.World, seed: int) -> None:
    """Changes of membership and snapshots in quick succession."""
    report = run(world(seed))
    assert report.happenings["snapshot"]


def test_what_is_too_slow_for_any_leader_is_mended_with_the_rest() -> None:
    """Votes that take longer than an election may leave members without a leader for ever."""
    plan = worlds.harsh(39)
    assert 2 * (plan.sync_us_max + plan.quality.delay_us_max) > plan.election_ticks * TICK_US
    run(plan)


def test_members_recover_while_clients_go_on() -> None:
    """Agreement is on what there was: with enough requests, somebody always lacks the latest."""
    assert run(worlds.compacting(54)).recovery_us < SECOND


def test_a_run_says_what_happened_in_it() -> None:
    """Counts of changes, snapshots and crashes show that they were there at all."""
    happenings = sum((run(worlds.changing(seed)).happenings for seed in range(3)), Counter[str]())
    for kind in ("snapshot", "leader change", "configuration", "removed member ended"):
        assert happenings[kind], f"no {kind}"


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
