"""Count what many runs were."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from raftkv.testing.sim.world import run
from raftkv.testing.sim.worlds import WORLDS

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
    operations: Counter[str] = field(default_factory=Counter)
    """Outcomes of clients' operations."""
    faults: Counter[str] = field(default_factory=Counter)
    """Kinds of fault."""
    happenings: Counter[str] = field(default_factory=Counter)
    """Changes of membership by kind, and what else went on."""


def run_seed(seed: int, world: str = "ordinary") -> SeedResult:
    """Run a seed in one of WORLDS; a failure is in the result."""
    try:
        report = run(WORLDS[world](seed))
    except Exception as error:
        return SeedResult(seed, f"{type(error).__name__}: {error}")
    return SeedResult(
        seed,
        simulated_s=report.simulated_us / 1e6,
        events=report.events,
        recovery_s=report.recovery_us / 1e6,
        operations=Counter({one.value: number for one, number in report.outcomes.items()}),
        faults=Counter(report.faults),
        happenings=report.happenings,
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
        self._recoveries_s = 0.0
        self._operations: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._happenings: Counter[str] = Counter()

    def add(self, result: SeedResult) -> None:
        """Count one run."""
        self.seeds += 1
        if result.error:
            self.failed.append(result.seed)
        self._simulated_s += result.simulated_s
        self._events += result.events
        self._recovery_s = max(self._recovery_s, result.recovery_s)
        self._recoveries_s += result.recovery_s
        self._operations.update(result.operations)
        self._faults.update(result.faults)
        self._happenings.update(result.happenings)

    def line(self) -> str:
        """Return where a run is, in one line."""
        seconds = time.monotonic() - self._started
        return (
            f"{self.seeds} seeds, {len(self.failed)} failed, {seconds:.0f} s,"
            f" {self._simulated_s / 3600:.1f} simulated hours"
        )

    def table(self) -> str:
        """Return everything that was counted."""
        seeds = max(1, self.seeds - len(self.failed))
        lines = [
            self.line(),
            f"{self._events} events; recovery {self._recoveries_s / seeds:.2f} simulated s in the"
            f" mean, {self._recovery_s:.2f} s at most",
        ]
        for title, counts in (
            ("operations", self._operations),
            ("faults", self._faults),
            ("changes and more", self._happenings),
        ):
            lines.append(f"{title} ({counts.total()}):")
            lines += [f"{name:>20} {number}" for name, number in sorted(counts.items())]
        lines.append(f"failed seeds: {self.failed or 'none'}")
        return "\n".join(lines)
