"""The rounds of a comparison: every case on both programs in alternation, and the medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.cases import ABSOLUTE, POD_BYTES, PODS, REAL, Case, Context, Size
from bench.operation import VALUE_BYTES
from bench.target import Sample, Target, started

OURS = "raftkv"
ATTEMPTS = 3
"""Of a round, before the comparison is given up."""
Say = Callable[[str], None]


@dataclass(slots=True)
class Row:
    """One case and its samples, by program; ours first."""

    case: Case
    rounds: dict[str, list[Sample]] = field(default_factory=dict)

    def median(self, program: str, figure: str = "value") -> float:
        """Return the median of a field of the samples."""
        return statistics.median(float(getattr(one, figure)) for one in self.rounds[program])

    @property
    def peer(self) -> str:
        return next(program for program in self.rounds if program != OURS)

    @property
    def ratio(self) -> float:
        """Ours divided by the peer's; 0 where the peer has nothing."""
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
    size: Size = REAL,
    say: Say = print,
) -> list[Row]:
    """Start both clusters, fill them and run every case on them in turn, `rounds` times.

    Both run at once, which costs memory only: an idle one takes no turn of the processor worth
    naming. Who goes first alternates with the rounds. RuntimeError where requests fail, or leaders
    change, ATTEMPTS times: such a figure would mean nothing.
    """
    rows = [Row(case, {program: [] for program in programs}) for case in cases]
    targets = start_all(programs, members, directory, say)
    try:
        context = Context(size, next(t for name, t in targets.items() if name != OURS))
        for target in targets.values():
            say(f"filling {target.program}: {size.keys:,} keys")
            target.fill(size.keys, VALUE_BYTES, say)
            if any(case.name.startswith("apiserver") for case in cases):
                target.fill(size.pods, POD_BYTES, say, PODS)
        for number in range(rounds):
            order = list(targets.values())[:: 1 if number % 2 == 0 else -1]
            for row in rows:
                for target in order:
                    one_round(row, target, context, say)
                    say(line(row, target, number + 1, rounds))
    finally:
        stop_all(targets)
    return rows


def one_round(row: Row, target: Target, context: Context, say: Say) -> None:
    """Run a case; again, where a request failed or the leader changed, which says nothing."""
    for left in reversed(range(ATTEMPTS)):
        try:
            sample = row.case.run(target, context)
            target.check_leader()
        except Exception as error:
            if not left:
                raise RuntimeError(f"{row.case.name} on {target.program}: {error}") from error
            say(f"{row.case.name} on {target.program} again: {error}")
            target.find_leader()
        else:
            row.rounds[target.program].append(sample)
            return


def line(row: Row, target: Target, number: int, rounds: int) -> str:
    sample = row.rounds[target.program][-1]
    latency = f"p50 {sample.p50_ms:8.2f}  p99 {sample.p99_ms:8.2f} ms" if sample.p99_ms else ""
    return (
        f"round {number}/{rounds}  {row.case.name:<19}{target.program:<8}"
        f"{figure(sample.value):>10} {row.case.unit:<5}{latency}"
    )


def figure(value: float) -> str:
    """Write a number with three digits that count, or all of a large one."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
