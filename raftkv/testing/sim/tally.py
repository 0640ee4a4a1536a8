"""Count what many runs were."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from raftkv.testing.sim.plan import draw_plan
from raftkv.testing.sim.world import run

__all__ = ["SeedResult", "Tally", "run_seed"]


@dataclass(slots=True)
class SeedResult:
    """The numbers of one run, small enough to be sent between processes."""

    seed: int
    error: str = ""
    """Empty if there was no violation."""
    simulated_s: float = 0.0
    events: int = 0
    recovery_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    """Outcomes of operations, and kinds of faults."""


def run_seed(seed: int) -> SeedResult:
    """Run a seed; a failure is in the result."""
    try:
        report = run(draw_plan(seed))
    except Exception as error:
        return SeedResult(seed, f"{type(error).__name__}: {error}")
    counts: Counter[str] = Counter(report.faults)
    counts.update({one.value: number for one, number in report.outcomes.items()})
    return SeedResult(
        seed,
        simulated_s=report.simulated_us / 1e6,
        events=report.events,
        recovery_s=report.recovery_us / 1e6,
        counts=counts,
    )


class Tally:
    """The sum of many runs."""

    def __init__(self) -> None:
        self.seeds = 0
        self.failed: list[int] = []
        self._started = time.monotonic()
        self._simulated_s = 0.0
        self._events = 0
        self._recovery_s = 0.0
        self._counts: Counter[str] = Counter()

    def add(self, result: SeedResult) -> None:
        """Count one run."""
        self.seeds += 1
        if result.error:
            self.failed.append(result.seed)
        self._simulated_s += result.simulated_s
        self._events += result.events
        self._recovery_s = max(self._recovery_s, result.recovery_s)
        self._counts.update(result.counts)

    def line(self) -> str:
        """Return where a run is, in one line."""
        seconds = time.monotonic() - self._started
        return (
            f"{self.seeds} seeds, {len(self.failed)} failed, {seconds:.0f} s,"
            f" {self._simulated_s / 3600:.1f} simulated hours"
        )

    def table(self) -> str:
        """Return everything that was counted."""
        rows = [f"{name:>16} {number}" for name, number in sorted(self._counts.items())]
        return "\n".join(
            [
                self.line(),
                f"{self._events} events; longest recovery {self._recovery_s:.2f} simulated s",
                *rows,
                f"failed seeds: {self.failed or 'none'}",
            ]
        )
