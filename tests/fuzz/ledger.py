"""How long each target has been fuzzed: `hours.jsonl`, one run a line, oldest first.

A run is counted by the processor time of the fuzzing itself, without building, minimising and
looking for leaks: a machine that does other things beside it makes a run longer, not more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

LEDGER = Path(__file__).parent / "hours.jsonl"
WANTED_S = 3600.0
"""What each target is to have in all."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `tools/fuzz`, however it ended."""

    target: str
    commit: str
    """What was fuzzed, abbreviated; with a `+` where the tree had changes of its own."""
    day: str
    cpu_s: float
    executions: int
    coverage: int
    """Edges and lines that the inputs of the corpus reach, as libFuzzer counts them."""
    findings: int
    """Inputs that crashed, hung or took too much memory: each ends a run."""


def append(run: Run, ledger: Path = LEDGER) -> None:
    """Write a run down."""
    with ledger.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run)) + "\n")


def runs(ledger: Path = LEDGER) -> list[Run]:
    """Return what is written down. Raises ValueError or TypeError for a line that is no run."""
    if not ledger.exists():
        return []
    return [Run(**json.loads(line)) for line in ledger.read_text(encoding="utf-8").splitlines()]


def totals(told: Iterable[Run], targets: Iterable[str]) -> dict[str, float]:
    """Return the processor seconds of each target, in the order of `targets`."""
    seconds = dict.fromkeys(targets, 0.0)
    for run in told:
        seconds[run.target] += run.cpu_s
    return seconds


def table(told: list[Run], targets: Iterable[str]) -> str:
    """Return what there is of each target, for people."""
    lines = [f"{'target':10} {'runs':>4} {'minutes':>8} {'executions':>11} {'findings':>8}"]
    for target, seconds in totals(told, targets).items():
        own = [run for run in told if run.target == target]
        executions = sum(run.executions for run in own)
        findings = sum(run.findings for run in own)
        missing = "" if seconds >= WANTED_S else f"  {(WANTED_S - seconds) / 60:.1f} missing"
        lines.append(
            f"{target:10} {len(own):4} {seconds / 60:8.1f} {executions:11} {findings:8}{missing}"
        )
    return "\n".join(lines)
