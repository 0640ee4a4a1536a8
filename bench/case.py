"""What a case of the comparison is, how large it may be, and what its rounds share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import operation
from bench.generator import Plan
from bench.journal import Journal
from bench.target import Sample, Target

FULL_CONNECTIONS, FULL_STREAMS = 10, 100


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is."""

    smoke: bool

    keys: int
    pods: int
    range_keys: int
    watchers: int
    watch_connections: int
    duration_s: float
    warm_up_s: float


REAL = Size(False, 1_000_000, 10_000, 10_000, 10_000, 100, 4.0, 1.0)
SMOKE = Size(True, 2_000, 1_000, 1_000, 200, 10, 0.25, 0.05)


@dataclass(slots=True)
class Context:
    """What the rounds of a comparison share."""

    size: Size
    peer: Target
    journal: Journal
    """Has the rates of the peer that cases are driven at, too: measured once, the same for all."""


Run = Callable[[Target, Context], Sample]


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. The goal is about raftkv's figure divided by the peer's."""

    name: str
    title: str
    """May name `{keys}`, those of the run."""
    unit: str
    run: Run
    goal: float | None = None
    """At least this where more is better, at most this where less is; None: only told."""
    more_is_better: bool = True

    def meets(self, ratio: float) -> bool:
        if self.goal is None:
            return True
        return ratio >= self.goal if self.more_is_better else ratio <= self.goal


def closed(
    target: Target, context: Context, *operations: operation.Operation, in_flight: int = 0
) -> Plan:
    """A closed loop at the leader: 1,000 in flight, or `in_flight` over one connection."""
    size = context.size
    return Plan(
        [target.leader],
        operations,
        connections=1 if in_flight else FULL_CONNECTIONS,
        streams=in_flight or FULL_STREAMS,
        space=size.keys,
        duration_s=size.duration_s,
        warm_up_s=size.warm_up_s,
    )
