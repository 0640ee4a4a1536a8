"""The command line of the simulator."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count, islice

from raftkv.testing.sim.plan import Plan
from raftkv.testing.sim.shrink import shrink
from raftkv.testing.sim.tally import SeedResult, Tally, run_seed
from raftkv.testing.sim.trace import Trace
from raftkv.testing.sim.world import run
from raftkv.testing.sim.worlds import WORLDS

__all__ = ["main"]

BATCH = 20
"""Seeds that a process is given at once."""

PROGRESS_S = 10.0
"""How often a long run says how far it is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked; 0 if there was no violation."""
    parser = argparse.ArgumentParser(
        prog="python -m raftkv.testing.sim",
        description="Run whole members on a simulated clock, network and disk. One seed, one run.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="run one seed and print its trace's digest")
    what.add_argument("--seeds", metavar="A..B", help="run seeds A to B-1")
    what.add_argument("--minutes", type=float, help="run new seeds for so long")
    parser.add_argument("--first", type=int, default=0, help="first seed of --minutes")
    parser.add_argument("--processes", type=int, default=2, help="for --seeds and --minutes")
    parser.add_argument(
        "--world", choices=WORLDS, default="ordinary", help="what seeds mean (default: ordinary)"
    )
    parser.add_argument("--trace", metavar="FILE", help="with --seed: write every event there")
    options = parser.parse_args(arguments)
    logging.disable()
    if options.seed is not None:
        return _run_one(options.seed, options.world, options.trace)
    if options.seeds is not None:
        first, _, end = options.seeds.partition("..")
        seeds: Iterator[int] = iter(range(int(first), int(end)))
        return _run_many(seeds, options.world, options.processes, lambda: False)
    deadline = time.monotonic() + options.minutes * 60
    seeds = count(options.first)
    return _run_many(seeds, options.world, options.processes, lambda: time.monotonic() > deadline)


def _replay(seed: int, world: str) -> str:
    """Return the command that runs a seed again."""
    where = "" if world == "ordinary" else f" --world {world}"
    return f"replay: python -m raftkv.testing.sim --seed {seed}{where}"


def _run_one(seed: int, world: str, trace_path: str | None) -> int:
    plan = WORLDS[world](seed)
    print(f"seed {seed}: {plan.describe()}", flush=True)
    trace = Trace()
    try:
        report = run(plan, trace)
    except Exception as error:
        print(f"seed {seed} FAILED: {type(error).__name__}: {error}")
        _explain(plan, world, error)
        return 1
    finally:
        if trace_path:
            with open(trace_path, "w") as file:
                file.write(trace.text())
    outcomes = ", ".join(f"{number} {one.value}" for one, number in report.outcomes.items())
    print(
        f"{report.events} events in {report.simulated_us / 1e6:.1f} simulated s;"
        f" operations: {outcomes}; {report.committed} entries, {report.terms} terms;"
        f" recovered in {report.recovery_us / 1e6:.2f} s; trace {report.digest}"
    )
    return 0


def _explain(plan: Plan, world: str, error: Exception) -> None:
    """Say how to replay a failure, and print the trace of a smaller plan that fails alike."""
    print(f"{_replay(plan.seed, world)} --trace FILE")
    small, trace = shrink(plan, error)
    print(
        f"shrunk to {len(small.faults)} of {len(plan.faults)} faults, {len(small.changes)} of"
        f" {len(plan.changes)} changes and {len(small.requests)} of {len(plan.requests)} requests;"
        " the end of its trace:"
    )
    for item in (*small.faults, *small.changes):
        print(f"  {item}")
    print("\n".join(trace.lines[-60:]))


def _run_many(seeds: Iterator[int], world: str, processes: int, is_over: Callable[[], bool]) -> int:
    tally = Tally()
    next_word = time.monotonic() + PROGRESS_S
    with ProcessPoolExecutor(processes) as pool:
        under_way: list[Future[list[SeedResult]]] = []
        while True:
            while len(under_way) < 2 * processes and not is_over():
                batch = list(islice(seeds, BATCH))
                if not batch:
                    break
                under_way.append(pool.submit(_run_batch, batch, world))
            if not under_way:
                break
            for result in under_way.pop(0).result():
                tally.add(result)
                if result.error:
                    print(f"seed {result.seed} FAILED: {result.error}", flush=True)
                    print(_replay(result.seed, world), flush=True)
            if time.monotonic() >= next_word:
                next_word = time.monotonic() + PROGRESS_S
                print(tally.line(), flush=True)
    print(tally.table())
    return 1 if tally.failed else 0


def _run_batch(seeds: list[int], world: str) -> list[SeedResult]:
    return [run_seed(seed, world) for seed in seeds]


if __name__ == "__main__":
    sys.exit(main())
