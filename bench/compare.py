"""The rounds of a comparison: every case on both programs in alternation, and the medians."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.case import REAL, Case, Context, Run, Size
from bench.cases import ABSOLUTE, POD_BYTES, PODS
from bench.journal import Journal
from bench.operation import VALUE_BYTES
from bench.target import Sample, Target, started

OURS = "raftkv"
ATTEMPTS = 3
"""Of a round, before the case is given up."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One case and its samples, by program; ours first."""

    case: Case
    rounds: dict[str, list[Sample]]
    keys: int = REAL.keys
    failure: str = ""
    """Why the case was given up; its rounds are those before."""
    note: str = ""

    @property
    def title(self) -> str:
        return self.case.title.format(keys=f"{self.keys:,}")

    @property
    def measured(self) -> bool:
        """Whether there is a figure of each program."""
        return all(self.rounds.values())

    def median(self, program: str, figure: str = "value") -> float:
        """Return the median of a field of the samples."""
        return statistics.median(float(getattr(one, figure)) for one in self.rounds[program])

    @property
    def peer(self) -> str:
        return next(program for program in self.rounds if program != OURS)

    @property
    def ratio(self) -> float:
        """Ours divided by the peer's; 0 where the peer has nothing, NaN where both are infinite."""
        theirs = self.median(self.peer)
        return self.median(OURS) / theirs if theirs else 0.0

    @property
    def meets_goal(self) -> bool:
        judged = self.median(OURS) if self.case.name in ABSOLUTE else self.ratio
        return self.case.meets(judged)


def start_all(
    programs: dict[str, list[str]], members: int, directory: Path, say: Say
) -> dict[str, Target]:
    """Start a cluster of each program; all or none."""
    targets: dict[str, Target] = {}
    try:
        for program, command in programs.items():
            say(f"starting {members} × {program}")
            targets[program] = started(command, program, members, directory)
    except BaseException:
        stop_all(targets)
        raise
    return targets


def stop_all(targets: dict[str, Target]) -> None:
    for target in targets.values():
        target.cluster.stop()


def compare(
    programs: dict[str, list[str]],
    cases: list[Case],
    members: int,
    directory: Path,
    rounds: int,
    journal: Journal,
    size: Size = REAL,
    say: Say = print,
) -> list[Row]:
    """Start both clusters, fill them and run every case on them in turn, `rounds` times.

    Both run at once, which costs memory only: an idle one takes no turn of the processor worth
    naming. Who goes first alternates with the rounds. What the journal has is not measured again;
    a case that fails is left out from then on, and its row says why.
    """
    todo = [case for case in cases if not journal.complete(case.name, list(programs), rounds)]
    if todo:
        targets = start_all(programs, members, directory, say)
        try:
            context = Context(size, next(t for n, t in targets.items() if n != OURS), journal)
            for target in targets.values():
                say(f"filling {target.program}: {size.keys:,} keys")
                target.fill(size.keys, VALUE_BYTES, say)
                if any(case.name.startswith("apiserver") for case in todo):
                    target.fill(size.pods, POD_BYTES, say, PODS)
            for number in range(rounds):
                for case in todo:
                    one_round(case, number, rounds, targets, context, say)
        finally:
            stop_all(targets)
    return [
        Row(
            case,
            {program: journal.samples(case.name, program) for program in programs},
            size.keys,
            journal.failures.get(case.name, ""),
            journal.notes.get(case.name, ""),
        )
        for case in cases
    ]


def one_round(
    case: Case, number: int, rounds: int, targets: dict[str, Target], context: Context, say: Say
) -> None:
    """Run a case on each program, unless it has been given up or was measured before."""
    journal = context.journal
    for target in list(targets.values())[:: 1 if number % 2 == 0 else -1]:
        if case.name in journal.failures:
            return
        if len(journal.samples(case.name, target.program)) > number:
            continue
        try:
            sample = attempt(case.name, case.run, target, context, say)
        except Exception as error:
            journal.add_failure(case.name, f"round {number + 1} on {target.program}: {error}")
            say(f"{case.name} is given up: {journal.failures[case.name]}")
        else:
            journal.add(case.name, target.program, sample)
            say(line(case.name, case.unit, target.program, sample, number + 1, rounds))


def attempt(name: str, run: Run, target: Target, context: Context, say: Say) -> Sample:
    """Run once; again, where a request failed or the leader changed, which says nothing.

    Raises what the last of ATTEMPTS raised.
    """
    for left in reversed(range(ATTEMPTS)):
        try:
            sample = run(target, context)
            target.check_leader()
        except Exception as error:
            if not left:
                with suppress(Exception):  # so that the next case finds the cluster, if it can
                    target.recover()
                raise
            say(f"{name} on {target.program} again: {error}")
            with suppress(Exception):  # the next attempt tells
                target.recover()
        else:
            return sample
    raise AssertionError("the last attempt returns or raises")


def line(name: str, unit: str, program: str, sample: Sample, number: int, rounds: int) -> str:
    """Say in one line what a round found."""
    latency = f"p50 {sample.p50_ms:8.2f}  p99 {sample.p99_ms:8.2f} ms" if sample.p99_ms else ""
    refused = f"  {sample.refused:.1%} refused" if sample.refused else ""
    return (
        f"round {number}/{rounds}  {name:<27}{program:<8}"
        f"{figure(sample.value):>10} {unit:<5}{latency}{refused}"
    )


def figure(value: float) -> str:
    """Write a number with three digits that count, or all of a large one."""
    if math.isinf(value):
        return "refused"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
