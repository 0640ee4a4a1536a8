"""What a seed means: a cluster, its world's quality, the faults and the clients' requests.

A plan is a value, so that a failing one can be shrunk: fewer faults and fewer requests, all else
the same. Times are microseconds since the run began.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from raftkv.testing.sim.network import NetworkQuality
from raftkv.testing.sim.scheduler import MS, SECOND

__all__ = [
    "CLIENTS",
    "EXPOSED",
    "KEYS",
    "LEADER",
    "Change",
    "Fault",
    "Plan",
    "Request",
    "draw_changes",
    "draw_plan",
]

LEADER = -1
"""As the target of a fault: whoever leads then (or member 0, if nobody does)."""

KEYS = 5
"""Keys that clients write; few, so that they collide."""

CLIENTS = 4

TICK_US = 100 * MS
"""Between two ticks of a member."""

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

EXPOSED = "crash_exposed"
"""A crash of the next member that receives or installs a snapshot, in the middle of that."""

STORM_KINDS = ("crash", "crash", "isolate", "one_way", "cut_link", "clog", "pause")
"""Kinds of fault of which many strike at once, each for a short time."""

STORM_US = 3 * SECOND
"""How long a storm is."""

STORM_INTERVAL_US = 200 * MS
"""Mean time between two faults of a storm."""

WEATHER = {"calm": 1, "mixed": 5, "storms": 3, "hurricane": 3}
"""What kinds of world there are, and how likely each is. In a hurricane members are back before an
election ends, elections collide, and leaders come and go too fast for much work."""

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


CHANGE_KINDS = {
    "add_learner": 5,
    "promote": 4,
    "grow": 4,
    "add_voter": 3,
    "remove": 5,
    "replace": 3,
    "swap": 3,
}
"""Kinds of change of membership and how likely each is, relative to the others. `grow` adds a
learner and promotes it; `replace` removes a member and adds a new one for it; `swap` does both
at once, through a joint configuration."""

CHANGES_MAX = 6
"""Changes of membership that one run asks for."""

SNAPSHOT_CHUNK_BYTES = (256, 1024, 1 << 20)
"""How large the chunks of a snapshot may be: states are small, transfers shall not be."""


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
class Change:
    """One change of membership that an administrator wants, once all earlier ones are done with."""

    at_us: int
    kind: str
    target: int
    """Which of the members that there are then, or LEADER."""


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
    weather: str
    members: int
    duration_us: int
    rates: tuple[float, ...]
    """Seconds of each member's clock in a second."""
    quality: NetworkQuality
    sync_us_max: int
    flush_us_max: int
    pre_vote: bool
    election_ticks: int
    snapshot_count: int
    table_bytes_max: int
    entries_per_append_max: int
    """0: everything in the core is as large as in production."""
    faults: tuple[Fault, ...] = field(default=())
    requests: tuple[Request, ...] = field(default=())
    changes: tuple[Change, ...] = field(default=())
    voters_min: int = 2
    """Fewer are not left by the administrator."""
    chunk_bytes: int = 1 << 20
    """Of a snapshot."""
    corrupt_check_s: float = 0.0
    """How often members compare their states; 0: never."""

    @property
    def calm_haste(self) -> float:
        """By what disks and network are multiplied in speed once the faults have ended.

        Raft promises progress only where a round of messages takes less than an election timeout
        (Raft §5.6). A round of an election is two syncs, the candidate's and the voter's, and two
        messages. A world in which that may take longer is broken; it is to be mended with the rest.
        """
        round_us = 2 * (self.sync_us_max + self.quality.delay_us_max)
        return max(1.0, round_us / (self.election_ticks * TICK_US))

    @property
    def calm_quality(self) -> NetworkQuality:
        """What the network is like once the faults have ended."""
        return NetworkQuality(int(self.quality.delay_us_max / self.calm_haste))

    @property
    def calm_sync_us_max(self) -> int:
        """How long a sync may take once the faults have ended."""
        return int(self.sync_us_max / self.calm_haste)

    def describe(self) -> str:
        """Return the options in one line."""
        quality = self.quality
        return (
            f"{self.weather} members={self.members} seconds={self.duration_us // SECOND}"
            f" faults={len(self.faults)} requests={len(self.requests)}"
            f" changes={len(self.changes)} chunk={self.chunk_bytes}"
            f" delay<={quality.delay_us_max / MS:g}ms loss={quality.loss:.3f}"
            f" duplicate={quality.duplicate:.3f} sync<={self.sync_us_max / MS:g}ms"
            f" flush<={self.flush_us_max / MS:g}ms"
            f" pre_vote={self.pre_vote} election_ticks={self.election_ticks}"
            f" append<={self.entries_per_append_max or 'default'}"
            f" snapshot_count={self.snapshot_count}"
            f" rates={','.join(f'{rate:.3f}' for rate in self.rates)}"
        )


def draw_plan(seed: int) -> Plan:
    """Return what a seed stands for."""
    dice = random.Random(f"plan {seed}")
    members = dice.choice((3, 3, 3, 3, 5))
    weather = dice.choices(list(WEATHER), list(WEATHER.values()))[0]
    hard = weather == "hurricane"
    duration_us = dice.choice((6, 8, 10) if hard else (8, 12, 16, 24)) * SECOND
    skewed = dice.random() < 0.3
    rates = tuple(1 + (dice.random() - 0.5) * 0.1 if skewed else 1.0 for _ in range(members))
    lossy = dice.random() < 0.5
    quality = NetworkQuality(
        delay_us_max=dice.choice((5, 20, 60) if hard else (1, 5, 5, 20, 60)) * MS,
        loss=dice.random() * 0.05 if lossy else 0.0,
        duplicate=dice.random() * 0.05 if lossy else 0.0,
    )
    others = random.Random(f"changes {seed}")  # dice of their own: the rest stays as it was
    return Plan(
        seed=seed,
        weather=weather,
        members=members,
        duration_us=duration_us,
        rates=rates,
        quality=quality,
        sync_us_max=dice.choice((3, 40, 200) if hard else (1, 3, 10, 40, 200)) * MS,
        flush_us_max=dice.choice((5, 50, 1000)) * MS,
        pre_vote=dice.random() < (0.3 if hard else 0.8),
        election_ticks=dice.choice((3, 5) if hard else (10, 10, 5)),
        snapshot_count=dice.choice((4, 16, 64, 1000)),
        table_bytes_max=dice.choice((2048, 16384, 1 << 20)),
        entries_per_append_max=dice.choice((0, 1, 3)),
        faults=_with_exposed(others, _draw_faults(dice, members, duration_us, weather)),
        requests=_draw_requests(dice, duration_us),
        changes=draw_changes(others, duration_us) if others.random() < 0.6 else (),
        voters_min=others.choice((1, 2, 2, 3)),
        chunk_bytes=others.choice(SNAPSHOT_CHUNK_BYTES),
        corrupt_check_s=others.choice((0.0, 0.0, 1.5)),
    )


def _with_exposed(dice: random.Random, faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Add crashes that strike in the middle of a snapshot, where there are faults at all."""
    more = []
    if faults and dice.random() < 0.6:
        for _ in range(dice.choice((1, 3, 6))):
            at_us = faults[dice.randrange(len(faults))].at_us
            more.append(Fault(at_us, EXPOSED, 0, 0, 1 + dice.randrange(2 * SECOND), noticed=False))
    return tuple(sorted((*faults, *more), key=lambda fault: fault.at_us))


def draw_changes(dice: random.Random, duration_us: int) -> tuple[Change, ...]:
    """Return some changes of membership, spread over the time of the faults."""
    kinds, weights = list(CHANGE_KINDS), list(CHANGE_KINDS.values())
    changes = [
        Change(
            at_us=dice.randrange(duration_us),
            kind=dice.choices(kinds, weights)[0],
            target=LEADER if dice.random() < 0.4 else dice.randrange(CHANGES_MAX),
        )
        for _ in range(1 + dice.randrange(CHANGES_MAX))
    ]
    return tuple(sorted(changes, key=lambda change: change.at_us))


def _draw_faults(
    dice: random.Random, members: int, duration_us: int, weather: str
) -> tuple[Fault, ...]:
    kinds, weights = list(FAULT_KINDS), list(FAULT_KINDS.values())
    faults = []

    def draw(at_us: int, kind: str, duration_us: int) -> None:
        target = LEADER if dice.random() < 0.5 else dice.randrange(members)
        other, noticed = dice.randrange(members), dice.random() < 0.5
        faults.append(Fault(at_us, kind, target, other, duration_us, noticed))

    def storm(start_us: int, end_us: int, longest_us: int) -> None:
        """Many short faults, one every fifth of a second."""
        for _ in range((end_us - start_us) // STORM_INTERVAL_US):
            at_us = start_us + dice.randrange(end_us - start_us)
            draw(at_us, dice.choice(STORM_KINDS), 1 + dice.randrange(longest_us))

    if weather == "hurricane":
        storm(0, duration_us, dice.choice((60, 200, 600)) * MS)
    elif weather != "calm":
        for _ in range(dice.choice((4, 8, 12, 20))):
            kind = dice.choices(kinds, weights)[0]
            duration = dice.choice((5, 50, 300, 1500, 4000)) * MS
            draw(dice.randrange(duration_us), kind, duration + dice.randrange(duration))
    if weather == "storms":
        for _ in range(dice.choice((1, 2))):
            start_us = dice.randrange(duration_us)
            storm(start_us, start_us + STORM_US, 300 * MS)
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
