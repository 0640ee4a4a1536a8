"""What a seed means: a cluster, its world's quality, the faults and the clients' requests.

A plan is a value, so that a failing one can be shrunk: fewer faults and fewer requests, all else
the same. Times are microseconds since the run began.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from raftkv.testing.sim.network import NetworkQuality
from raftkv.testing.sim.scheduler import MS, SECOND

__all__ = ["CLIENTS", "KEYS", "LEADER", "Fault", "Plan", "Request", "draw_plan"]

LEADER = -1
"""As the target of a fault: whoever leads then (or member 0, if nobody does)."""

KEYS = 5
"""Keys that clients write; few, so that they collide."""

CLIENTS = 4

FAULT_KINDS = {
    "crash": 6,
    "crash_all": 1,
    "pause": 3,
    "isolate": 3,
    "one_way": 2,
    "cut_link": 3,
    "clog": 2,
    "lossy": 2,
    "slow_disk": 2,
    "disk_error": 1,
    "disk_full": 1,
    "skew": 1,
    "transfer": 2,
}
"""Kinds of fault and how likely each is, relative to the others."""

REQUEST_KINDS = {
    "put": 30,
    "get": 22,
    "get_serializable": 5,
    "range": 5,
    "delete": 6,
    "delete_all": 1,
    "compare_and_put": 16,
    "read_txn": 3,
    "grant": 3,
    "put_leased": 5,
    "keep_alive": 4,
    "revoke": 1,
    "compact": 2,
    "get_old": 2,
}
"""Kinds of request and how likely each is, relative to the others."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    at_us: int
    kind: str
    target: int
    """Number of a member, or LEADER."""
    other: int
    """Number of another member, for links."""
    duration_us: int
    noticed: bool
    """Whether connections break at once where the network is cut."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of one client, sent `think_us` after the answer to the one before."""

    client: int
    number: int
    """Counts all requests of the run, from 1."""
    think_us: int
    kind: str
    key: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run is made of."""

    seed: int
    members: int
    duration_us: int
    rates: tuple[float, ...]
    """Seconds of each member's clock in a second."""
    quality: NetworkQuality
    sync_us_max: int
    pre_vote: bool
    snapshot_count: int
    table_bytes_max: int
    small_appends: bool
    faults: tuple[Fault, ...] = field(default=())
    requests: tuple[Request, ...] = field(default=())

    def describe(self) -> str:
        """Return the options in one line."""
        quality = self.quality
        return (
            f"members={self.members} seconds={self.duration_us // SECOND}"
            f" faults={len(self.faults)} requests={len(self.requests)}"
            f" delay<={quality.delay_us_max / MS:g}ms loss={quality.loss:.3f}"
            f" duplicate={quality.duplicate:.3f} sync<={self.sync_us_max / MS:g}ms"
            f" pre_vote={self.pre_vote} snapshot_count={self.snapshot_count}"
            f" rates={','.join(f'{rate:.3f}' for rate in self.rates)}"
        )


def draw_plan(seed: int) -> Plan:
    """Return what a seed stands for."""
    dice = random.Random(f"plan {seed}")
    members = dice.choice((3, 3, 3, 3, 5))
    duration_us = dice.choice((15, 20, 20, 30)) * SECOND
    skewed = dice.random() < 0.3
    rates = tuple(1 + (dice.random() - 0.5) * 0.1 if skewed else 1.0 for _ in range(members))
    lossy = dice.random() < 0.5
    quality = NetworkQuality(
        delay_us_max=dice.choice((1, 5, 5, 20, 60)) * MS,
        loss=dice.random() * 0.05 if lossy else 0.0,
        duplicate=dice.random() * 0.05 if lossy else 0.0,
    )
    return Plan(
        seed=seed,
        members=members,
        duration_us=duration_us,
        rates=rates,
        quality=quality,
        sync_us_max=dice.choice((1, 3, 10, 40)) * MS,
        pre_vote=dice.random() < 0.8,
        snapshot_count=dice.choice((4, 16, 64, 1000)),
        table_bytes_max=dice.choice((2048, 16384, 1 << 20)),
        small_appends=dice.random() < 0.5,
        faults=_draw_faults(dice, members, duration_us),
        requests=_draw_requests(dice, duration_us),
    )


def _draw_faults(dice: random.Random, members: int, duration_us: int) -> tuple[Fault, ...]:
    kinds, weights = list(FAULT_KINDS), list(FAULT_KINDS.values())
    count = dice.choice((0, 4, 8, 12, 20))
    first_us = SECOND
    faults = []
    for _ in range(count):
        target = LEADER if dice.random() < 0.5 else dice.randrange(members)
        faults.append(
            Fault(
                at_us=first_us + dice.randrange(duration_us - first_us),
                kind=dice.choices(kinds, weights)[0],
                target=target,
                other=dice.randrange(members),
                duration_us=dice.choice((50, 300, 1500, 4000)) * MS + dice.randrange(SECOND),
                noticed=dice.random() < 0.5,
            )
        )
    return tuple(sorted(faults, key=lambda fault: fault.at_us))


def _draw_requests(dice: random.Random, duration_us: int) -> tuple[Request, ...]:
    kinds, weights = list(REQUEST_KINDS), list(REQUEST_KINDS.values())
    count = dice.choice((60, 120, 160, 200))
    think_us_max = 2 * CLIENTS * duration_us // count
    return tuple(
        Request(
            client=dice.randrange(CLIENTS),
            number=number,
            think_us=dice.randrange(think_us_max),
            kind=dice.choices(kinds, weights)[0],
            key=dice.randrange(KEYS),
        )
        for number in range(1, count + 1)
    )
