"""Worlds that are hostile in one particular way, for bugs that hide in others."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from raftkv.testing.sim.network import NetworkQuality
from raftkv.testing.sim.plan import EXPOSED, LEADER, Change, Fault, Plan, draw_changes, draw_plan
from raftkv.testing.sim.scheduler import MS, SECOND

__all__ = [
    "WORLDS",
    "World",
    "changing",
    "colliding",
    "compacting",
    "harsh",
    "jointly",
    "left_behind",
    "listening",
    "ordinary",
    "parting",
    "reading",
    "renewing",
    "snapshotting",
]

World = Callable[[int], Plan]
"""Turns a seed into a plan."""


def ordinary(seed: int) -> Plan:
    """What every seed is by itself."""
    return draw_plan(seed)


def _every(
    dice: random.Random, end_us: int, mean_us: int, kinds: str, target: int, longest_us: int
) -> list[Fault]:
    """Return faults of some kinds at random times."""
    faults = []
    at_us = dice.randrange(2 * mean_us)
    while at_us < end_us:
        chosen = LEADER if target == LEADER and dice.random() < 0.7 else dice.randrange(3)
        kind = dice.choice(kinds.split())
        duration = 1 + dice.randrange(longest_us)
        faults.append(Fault(at_us, kind, chosen, dice.randrange(3), duration, dice.random() < 0.5))
        at_us += 1 + dice.randrange(2 * mean_us)
    return faults


def _world(seed: int, faults: list[Fault], **options: object) -> Plan:
    plan = replace(draw_plan(seed), members=3, rates=(1.0, 1.0, 1.0), changes=())
    plan = replace(plan, pre_vote=False)
    ordered = tuple(sorted(faults, key=lambda fault: fault.at_us))
    return replace(plan, faults=ordered, weather="special", **options)  # type: ignore[arg-type]


def colliding(seed: int) -> Plan:
    """Members are back before an election ends, and elections collide."""
    dice = random.Random(f"colliding {seed}")
    end_us = 8 * SECOND
    return _world(
        seed,
        _every(dice, end_us, 60 * MS, "crash", 0, 12 * MS)
        + _every(dice, end_us, 400 * MS, "crash isolate", LEADER, 300 * MS),
        duration_us=end_us,
        election_ticks=3,
        sync_us_max=5 * MS,
        quality=NetworkQuality(delay_us_max=120 * MS),
    )


def harsh(seed: int) -> Plan:
    """Leaders come and go too fast for much work, and syncs are slow."""
    dice = random.Random(f"harsh {seed}")
    end_us = 10 * SECOND
    return _world(
        seed,
        _every(dice, end_us, 300 * MS, "crash", LEADER, 200 * MS)
        + _every(dice, end_us, 500 * MS, "isolate cut_link one_way", LEADER, 900 * MS),
        duration_us=end_us,
        election_ticks=3,
        sync_us_max=dice.choice((100, 400)) * MS,
        entries_per_append_max=1,
        quality=NetworkQuality(delay_us_max=dice.choice((20, 120)) * MS, loss=0.05),
    )


def reading(seed: int) -> Plan:
    """Much is read and written, in quick succession, while leaders are cut off."""
    dice = random.Random(f"reading {seed}")
    end_us = 8 * SECOND
    plan = draw_plan(seed)
    requests = tuple(
        replace(
            request,
            number=number,
            think_us=request.think_us % (60 * MS),
            kind="put" if request.client % 2 else "get",
        )
        for number, request in enumerate(plan.requests * 2, 1)
    )
    return _world(
        seed,
        _every(dice, end_us, 900 * MS, "isolate isolate pause clog", LEADER, 1500 * MS),
        duration_us=end_us,
        election_ticks=dice.choice((3, 10)),
        requests=requests,
        quality=NetworkQuality(delay_us_max=dice.choice((5, 60)) * MS),
    )


def renewing(seed: int) -> Plan:
    """Clients do little but keep leases alive, while leaders crash and are cut off."""
    dice = random.Random(f"renewing {seed}")
    end_us = 12 * SECOND
    plan = draw_plan(seed)
    requests = tuple(
        replace(
            request,
            think_us=request.think_us % (400 * MS),
            kind=dice.choice(("grant", "keep_alive", "keep_alive", "keep_alive")),
        )
        for request in plan.requests
    )
    return _world(
        seed,
        _every(dice, end_us, 700 * MS, "crash crash isolate", LEADER, 600 * MS),
        duration_us=end_us,
        election_ticks=3,
        requests=requests,
    )


def compacting(seed: int) -> Plan:
    """History is compacted close behind the latest revision, while watchers do not always read."""
    dice = random.Random(f"compacting {seed}")
    plan = draw_plan(seed)
    requests = tuple(
        replace(request, think_us=request.think_us % (40 * MS), kind=dice.choice(COMPACTING))
        for request in plan.requests
    )
    return _world(seed, [], duration_us=6 * SECOND, requests=requests)


def changing(seed: int) -> Plan:
    """The membership changes all the time, while members come and go."""
    dice = random.Random(f"changing {seed}")
    end_us = 16 * SECOND
    changes = sorted(
        draw_changes(dice, end_us) + draw_changes(dice, end_us), key=lambda change: change.at_us
    )
    return _world(
        seed,
        _every(dice, end_us, 1500 * MS, "crash isolate transfer cut_link", LEADER, 2 * SECOND)
        + _every(dice, end_us, 4 * SECOND, EXPOSED, 0, SECOND),
        duration_us=end_us,
        election_ticks=dice.choice((3, 5)),
        voters_min=dice.choice((1, 2)),
        changes=tuple(changes),
    )


COMPACTING = ("put", "put", "put", "put", "compact")
"""Kinds of request where compaction matters."""


def jointly(seed: int) -> Plan:
    """Members are exchanged, several at once, while the network is slow and falls apart."""
    dice = random.Random(f"jointly {seed}")
    end_us = 16 * SECOND
    wanted = [
        Change(dice.randrange(end_us), dice.choice(("swap", "swap", "add_voter", "remove")), target)
        for target in range(12)
    ]
    return _world(
        seed,
        _every(dice, end_us, 500 * MS, "isolate isolate cut_link crash", LEADER, 2 * SECOND),
        duration_us=end_us,
        election_ticks=3,
        voters_min=2,
        changes=tuple(sorted(wanted, key=lambda change: change.at_us)),
        quality=NetworkQuality(delay_us_max=dice.choice((20, 60, 120)) * MS),
    )


def left_behind(seed: int) -> Plan:
    """While one member is cut off, all others are exchanged one by one."""
    dice = random.Random(f"left behind {seed}")
    changes = [
        Change(2 * SECOND + number * 1500 * MS + dice.randrange(SECOND), "swap", LEADER)
        for number in range(5)
    ]
    return _world(
        seed,
        [Fault(SECOND, "isolate", 1, 0, 11 * SECOND, noticed=dice.random() < 0.5)],
        duration_us=14 * SECOND,
        election_ticks=3,
        voters_min=2,
        changes=tuple(changes),
    )


def listening(seed: int) -> Plan:
    """There is a learner, which always hears the leader; voters often do not."""
    dice = random.Random(f"listening {seed}")
    end_us = 12 * SECOND
    links = [
        replace(fault, other=dice.randrange(3))
        for fault in _every(dice, end_us, 200 * MS, "cut_link", LEADER, 1200 * MS)
    ]
    return _world(
        seed,
        links + _every(dice, end_us, SECOND, "crash", LEADER, 800 * MS),
        duration_us=end_us,
        election_ticks=5,
        changes=(Change(100 * MS, "add_learner", 0),),
    )


def parting(seed: int) -> Plan:
    """Leaders remove themselves until one member is left, on a network that fails."""
    dice = random.Random(f"parting {seed}")
    end_us = 8 * SECOND
    changes = [Change((1 + number) * SECOND, "remove", LEADER) for number in range(4)]
    return _world(
        seed,
        _every(dice, end_us, 400 * MS, "isolate cut_link clog", LEADER, 1500 * MS),
        duration_us=end_us,
        election_ticks=3,
        voters_min=1,
        changes=tuple(changes),
        quality=NetworkQuality(delay_us_max=dice.choice((20, 60)) * MS),
    )


def snapshotting(seed: int) -> Plan:
    """Members are away so long that the log they lack is gone."""
    dice = random.Random(f"snapshotting {seed}")
    end_us = 12 * SECOND
    return _world(
        seed,
        _every(dice, end_us, 2 * SECOND, "crash isolate", 0, 3 * SECOND)
        + _every(dice, end_us, 2 * SECOND, EXPOSED, 0, SECOND),
        duration_us=end_us,
        snapshot_count=4,
        table_bytes_max=2048,
        flush_us_max=5 * MS,
    )


WORLDS: Mapping[str, World] = {
    world.__name__: world
    for world in (
        ordinary,
        changing,
        colliding,
        compacting,
        harsh,
        jointly,
        left_behind,
        listening,
        parting,
        reading,
        renewing,
        snapshotting,
    )
}
"""By name; `ordinary` is what a seed means where no world is named."""
