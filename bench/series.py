"""How cost grows: the same load at several sizes, on clusters of their own where it must be.

A series gives one row per size; `report` makes tables of them and `plot` curves.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from bench import operation
from bench.cases import Context, Size, closed, puts
from bench.compare import Say, start_all, stop_all
from bench.generator import Plan
from bench.operation import VALUE_BYTES
from bench.restart import first_answers
from bench.target import Sample, Target

IN_FLIGHT_BYTES_MAX = 16 << 20
"""Of the values of large puts that are under way."""
KEYS_DEFAULT = 10_000
Programs = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Point:
    """One size: label, place on the axis, and the medians of the rounds by program."""

    label: str
    x: float
    medians: dict[str, Sample]


@dataclass(frozen=True, slots=True)
class Series:
    """One table and plot."""

    name: str
    title: str
    axis: str
    unit: str
    points: list[Point]
    more_is_better: bool = True


def median_of(samples: list[Sample]) -> Sample:
    """Return the median of each field."""
    names = Sample.__dataclass_fields__
    return Sample(
        **{name: statistics.median(getattr(one, name) for one in samples) for name in names}
    )


def alternate(
    targets: dict[str, Target], context: Context, rounds: int, name: str, say: Say
) -> dict[str, Sample]:
    """Run puts with 1,000 in flight on each target in turn; returns the medians."""
    samples: dict[str, list[Sample]] = {program: [] for program in targets}
    for number in range(rounds):
        for target in list(targets.values())[:: 1 if number % 2 == 0 else -1]:
            sample = puts(0)(target, context)
            samples[target.program].append(sample)
            say(
                f"{name}  round {number + 1}/{rounds}  {target.program:<8}"
                f"{sample.value:10,.0f}/s  p99 {sample.p99_ms:8.2f} ms"
            )
    return {program: median_of(several) for program, several in samples.items()}


def keyed(size: Size, keys: int) -> Size:
    return replace(size, keys=keys)


def with_clusters(
    programs: Programs, members: int, directory: Path, size: Size, rounds: int, name: str, say: Say
) -> dict[str, Sample]:
    """Start clusters, fill them, measure, stop them."""
    with tempfile.TemporaryDirectory(dir=directory) as fresh:
        targets = start_all(programs, members, Path(fresh), say)
        try:
            for target in targets.values():
                target.fill(size.keys, VALUE_BYTES, say)
            context = Context(size, list(targets.values())[-1])
            return alternate(targets, context, rounds, name, say)
        finally:
            stop_all(targets)


def growth_keys(
    programs: Programs, members: int, directory: Path, rounds: int, size: Size, say: Say
) -> list[Series]:
    """Puts at growing numbers of keys; memory comes with it."""
    counts = (10_000, 100_000, 1_000_000, 5_000_000) if not size.smoke else (500, 1_000)
    points = [
        Point(
            f"{keys:,}",
            keys,
            with_clusters(
                programs, members, directory, keyed(size, keys), rounds, f"{keys:,} keys", say
            ),
        )
        for keys in counts
    ]
    return [Series("growth-keys", "Puts by number of keys", "keys", "/s", points)]


def growth_members(
    programs: Programs, _members: int, directory: Path, rounds: int, size: Size, say: Say
) -> list[Series]:
    counts = (1, 3, 5) if not size.smoke else (1,)
    small = keyed(size, min(size.keys, KEYS_DEFAULT))
    points = [
        Point(
            str(count),
            count,
            with_clusters(programs, count, directory, small, rounds, f"{count} members", say),
        )
        for count in counts
    ]
    return [Series("growth-members", "Puts by number of members", "members", "/s", points)]


def value_plan(target: Target, context: Context, value_bytes: int) -> Plan:
    plan = closed(target, context, operation.put(value_bytes))
    in_flight = max(1, min(1000, IN_FLIGHT_BYTES_MAX // value_bytes))
    connections = min(10, in_flight)
    return replace(plan, connections=connections, streams=in_flight // connections)


def growth_values(
    programs: Programs, members: int, directory: Path, rounds: int, size: Size, say: Say
) -> list[Series]:
    """Puts at growing sizes of values, as many in flight as 16 MiB of them, at most 1,000."""
    sizes = (64, 256, 1 << 10, 4 << 10, 16 << 10, 128 << 10, 1 << 20)
    points = []
    with tempfile.TemporaryDirectory(dir=directory) as fresh:
        targets = start_all(programs, members, Path(fresh), say)
        try:
            context = Context(keyed(size, 1_000), list(targets.values())[-1])
            for value_bytes in sizes if not size.smoke else (64, 1 << 10):
                samples: dict[str, list[Sample]] = {program: [] for program in programs}
                for number in range(rounds):
                    for program, target in targets.items():
                        samples[program].append(
                            target.sample(value_plan(target, context, value_bytes))
                        )
                        say(
                            f"{value_bytes:,} B  round {number + 1}/{rounds}  {program:<8}"
                            f"{samples[program][-1].value:10,.0f}/s"
                        )
                medians = {program: median_of(several) for program, several in samples.items()}
                points.append(Point(f"{value_bytes:,} B", value_bytes, medians))
        finally:
            stop_all(targets)
    return [Series("growth-values", "Puts by size of value", "bytes", "/s", points)]


def restart_time(target: Target, rounds: int) -> Sample:
    """Restart a follower; the figure is the seconds until it answers a linearizable read."""
    at = (target.leader_at + 1) % len(target.cluster.endpoints)
    times = []
    for number in range(rounds):
        began = target.cluster.restart(at)
        read_s, _ = asyncio.run(
            first_answers(target.cluster.endpoints[at], operation.key_of(number), began)
        )
        times.append(read_s)
    return Sample(statistics.median(times), resident_mb=target.cluster.resident_bytes() / 1e6)


def states(
    programs: Programs, members: int, directory: Path, rounds: int, size: Size, say: Say
) -> list[Series]:
    """Resident memory and restarts at one and five million keys, nothing else being asked."""
    counts = (1_000_000, 5_000_000) if not size.smoke else (1_000,)
    memory: list[Point] = []
    anonymous: list[Point] = []
    restarts: list[Point] = []
    for keys in counts:
        seen: tuple[dict[str, Sample], ...] = ({}, {}, {})
        for program, command in programs.items():
            with tempfile.TemporaryDirectory(dir=directory) as fresh:
                targets = start_all({program: command}, members, Path(fresh), say)
                try:
                    target = targets[program]
                    target.fill(keys, VALUE_BYTES, say)
                    seen[0][program] = Sample(target.cluster.resident_bytes() / 1e6)
                    seen[1][program] = Sample(target.cluster.anonymous_bytes() / 1e6)
                    seen[2][program] = restart_time(target, rounds)
                    say(
                        f"{keys:,} keys  {program:<8}{seen[0][program].value:,.0f} MB resident,"
                        f" restart {seen[2][program].value:.2f} s"
                    )
                finally:
                    stop_all(targets)
        for points, medians in zip((memory, anonymous, restarts), seen, strict=True):
            points.append(Point(f"{keys:,}", keys, medians))
    return [
        Series("memory", "Resident memory of a member", "keys", "MB", memory, False),
        Series("memory-anonymous", "The same without mapped files", "keys", "MB", anonymous, False),
        Series("restart", "Restart to the first linearizable read", "keys", "s", restarts, False),
    ]


SERIES = {
    "growth-keys": growth_keys,
    "growth-members": growth_members,
    "growth-values": growth_values,
    "restart-5m": states,
}
"""Name -> what measures it. `restart-5m` also tells the memory at 1 and 5 million keys."""
