"""How long nobody could write, by the kind of fault that was at work."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from raftkv.testing.history import Operation, Outcome
from raftkv.testing.kv_model import mutates

__all__ = ["Availability", "FaultSpan"]

RECOVERY_S = 3.0
"""A pause so soon after a fault has ended is put down to it, if no other fault began."""
NONE = "none"


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """When a fault was at work."""

    name: str
    member: int
    began: float
    ended: float


@dataclass(slots=True)
class Availability:
    """Counts and longest pauses by kind of fault; `NONE` is the time between faults."""

    counts: dict[str, int] = field(default_factory=dict)
    longest_s: dict[str, float] = field(default_factory=dict)

    def add(
        self,
        operations: Iterable[Operation],
        spans: Sequence[FaultSpan],
        began: float,
        ended: float,
    ) -> None:
        """Take in one epoch: a pause is the time between two answered changes of any clients."""
        answers = sorted(
            one.returned
            for one in operations
            if one.outcome is Outcome.OK
            and one.kind in ("put", "delete_range", "txn")
            and mutates(one.output)  # type: ignore[arg-type]
        )
        times = [began, *answers, ended]
        calm = dict.fromkeys(range(len(times) - 1))
        ordered = sorted(spans, key=lambda span: span.began)
        for place, span in enumerate(ordered):
            following = ordered[place + 1] if place + 1 < len(ordered) else None
            self.counts[span.name] = self.counts.get(span.name, 0) + 1
            first = max(bisect_right(times, span.began) - 1, 0)
            end = span.ended + RECOVERY_S
            last = bisect_left(times, min(end, following.began) if following else end)
            for at in range(first, min(last, len(times) - 1)):
                calm.pop(at, None)
                self._note(span.name, times[at + 1] - times[at])
        for at in calm:
            self._note(NONE, times[at + 1] - times[at])

    def _note(self, name: str, pause_s: float) -> None:
        self.longest_s[name] = max(self.longest_s.get(name, 0.0), pause_s)
