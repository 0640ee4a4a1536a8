"""How cost grows: the same load at several sizes, on clusters of their own where it must be.

A series gives one row per size; `report` makes tables of them and `plot` curves. A size that fails
leaves its row empty, and the next one is tried.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import operation
from bench.case import Case, Context, Run, Size, closed
from bench.cases import puts
from bench.compare import Say, one_round, start_all, stop_all
from bench.generator import Plan
from bench.journal import Journal
from bench.operation import VALUE_BYTES
from bench.restart import first_answers
from bench.target import Sample, Target

IN_FLIGHT_BYTES_MAX = 16 << 20
"""Of the values of large puts that are under way."""
KEYS_DEFAULT = 10_000
ROUNDS_MAX = 3
SECONDS_MAX = 2.0
"""Series have many points: their rounds are fewer and shorter than those of cases."""

KEY_COUNTS = (10_000, 100_000, 1_000_000, 5_000_000)
MEMBER_COUNTS = (1, 3, 5)
IN_FLIGHT = (1, 64, 1000)
VALUE_SIZES = (64, 256, 1 << 10, 4 << 10, 16 << 10, 128 << 10, 1 << 20)
STATE_COUNTS = (1_000_000, 5_000_000)


@dataclass(frozen=True, slots=True)
class Point:
    """One size: label, place on the axis, and the medians of the rounds by program."""

    label: str
    x: float
    medians: dict[str, Sample]
    """Empty where a program could not be measured."""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One table and plot."""

    name: str
    title: str
    axis: str
    unit: str
    points: list[Point]
    more_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Setting:
    """What all series are made with."""

    programs: dict[str, list[str]]
    members: int
    directory: Path
    rounds: int
    size: Size
    journal: Journal
    say: Say

    @property
    def shortened(self) -> Setting:
        """The same with no more, and no longer, rounds than a series has."""
        seconds = min(self.size.duration_s, SECONDS_MAX)
        size = replace(
            self.size, duration_s=seconds, warm_up_s=min(self.size.warm_up_s, seconds / 4)
        )
        return replace(self, rounds=min(self.rounds, ROUNDS_MAX), size=size)

    def upto(self, counts: tuple[int, ...]) -> tuple[int, ...]:
        """Return the counts of keys that this run is large enough for; all of a full one."""
        if self.size.keys >= 1_000_000:
            return counts
        return tuple(sorted({min(count, self.size.keys) for count in counts}))


def median_of(samples: list[Sample]) -> Sample:
    """Return the median of each field."""
    names = Sample.__dataclass_fields__
    return Sample(
        **{name: statistics.median(getattr(one, name) for one in samples) for name in names}
    )


@contextmanager
def clusters(
    setting: Setting, members: int, keys: int, programs: list[str] | None = None
) -> Iterator[tuple[dict[str, Target], Context]]:
    """Start clusters of these programs, all by default, and fill them; stop them at the end."""
    chosen = {name: setting.programs[name] for name in programs or setting.programs}
    with tempfile.TemporaryDirectory(dir=setting.directory) as fresh:
        targets = start_all(chosen, members, Path(fresh), setting.say)
        try:
            if keys:
                for target in targets.values():
                    setting.say(f"filling {target.program}: {keys:,} keys")
                    target.fill(keys, VALUE_BYTES, setting.say)
            size = replace(setting.size, keys=keys or setting.size.keys)
            yield targets, Context(size, list(targets.values())[-1], setting.journal)
        finally:
            stop_all(targets)


def measure(
    setting: Setting, members: int, keys: int, runs: dict[str, Run], unit: str = "/s"
) -> None:
    """Run each of `runs`, by name, on the same clusters; the journal has the outcome.

    Nothing is raised: what fails is the journal's to tell, of all runs where no cluster starts.
    """
    journal, programs = setting.journal, list(setting.programs)
    todo = [name for name in runs if not journal.complete(name, programs, setting.rounds)]
    if not todo:
        return
    try:
        with clusters(setting, members, keys) as (targets, context):
            for name in todo:
                case = Case(name, name, unit, runs[name])
                for number in range(setting.rounds):
                    one_round(case, number, setting.rounds, targets, context, setting.say)
    except Exception as error:
        for name in todo:
            if not journal.complete(name, programs, setting.rounds):
                journal.failures.setdefault(name, str(error))
        setting.say(f"{', '.join(todo)}: given up: {error}")


def point(setting: Setting, name: str, label: str, x: float) -> Point:
    """Return what the journal has of a name."""
    found = {program: setting.journal.samples(name, program) for program in setting.programs}
    if not all(found.values()):
        return Point(label, x, {}, setting.journal.failures.get(name, "not measured"))
    return Point(label, x, {program: median_of(samples) for program, samples in found.items()})


def growth_keys(setting: Setting) -> list[Series]:
    """Puts at growing numbers of keys."""
    setting = setting.shortened
    points = []
    for keys in setting.upto(KEY_COUNTS) if not setting.size.smoke else (500, 1_000):
        name = f"{keys:,} keys"
        measure(setting, setting.members, keys, {name: puts(0)})
        points.append(point(setting, name, f"{keys:,}", keys))
    return [Series("growth-keys", "Puts by number of keys", "keys", "/s", points)]


def growth_members(setting: Setting) -> list[Series]:
    """Puts at several numbers in flight, by growing numbers of members."""
    setting = setting.shortened
    keys = min(setting.size.keys, KEYS_DEFAULT)
    counts = MEMBER_COUNTS if not setting.size.smoke else (1,)
    title = "Puts by number of members, {:,} in flight"
    series = {
        f: Series(f"growth-members-{f}", title.format(f), "members", "/s", []) for f in IN_FLIGHT
    }
    for count in counts:
        names = {in_flight: f"{count} × {in_flight:,} puts" for in_flight in IN_FLIGHT}
        runs = {names[f]: puts(f if f < 1000 else 0) for f in IN_FLIGHT}
        measure(setting, count, keys, runs)
        for in_flight, made in series.items():
            made.points.append(point(setting, names[in_flight], str(count), count))
    return list(series.values())


def value_plan(target: Target, context: Context, value_bytes: int) -> Plan:
    plan = closed(target, context, operation.put(value_bytes))
    in_flight = max(1, min(1000, IN_FLIGHT_BYTES_MAX // value_bytes))
    connections = min(10, in_flight)
    return replace(plan, connections=connections, streams=in_flight // connections)


def valued(value_bytes: int) -> Run:
    return lambda target, context: target.sample(value_plan(target, context, value_bytes))


def growth_values(setting: Setting) -> list[Series]:
    """Puts at growing sizes of values, as many in flight as 16 MiB of them, at most 1,000."""
    setting = setting.shortened
    setting = replace(setting, size=replace(setting.size, keys=1_000))
    sizes = VALUE_SIZES if not setting.size.smoke else (64, 1 << 10)
    runs = {f"{size:,} B": valued(size) for size in sizes}
    measure(setting, setting.members, 0, runs)
    points = [point(setting, f"{size:,} B", f"{size:,} B", size) for size in sizes]
    return [Series("growth-values", "Puts by size of value", "bytes", "/s", points)]


def restart_time(target: Target, _context: Context) -> Sample:
    """Restart a follower; the figure is the seconds until it answers a linearizable read."""
    at = (target.leader_at + 1) % len(target.cluster.endpoints)
    endpoint, began = target.cluster.endpoints[at], target.cluster.restart(at)
    read_s, _ = asyncio.run(first_answers(endpoint, operation.key_of(0), began))
    return Sample(read_s)


def states(setting: Setting) -> list[Series]:
    """Resident memory and restarts at one and five million keys, nothing else being asked.

    One program at a time, as page cache and memory of the other would be in the way.
    """
    setting = replace(setting, rounds=min(setting.rounds, ROUNDS_MAX))
    counts = setting.upto(STATE_COUNTS) if not setting.size.smoke else (1_000,)
    kinds: dict[str, Callable[[Target, Context], Sample]] = {
        "memory": lambda target, _: Sample(target.cluster.resident_bytes() / 1e6),
        "memory-anonymous": lambda target, _: Sample(target.cluster.anonymous_bytes() / 1e6),
        "restart": restart_time,
    }
    for keys in counts:
        runs = {f"{keys:,} keys: {kind}": run for kind, run in kinds.items()}
        for program, command in setting.programs.items():
            alone = replace(setting, programs={program: command})
            measure(alone, setting.members, keys, runs, "")
    return [
        Series(
            kind,
            title,
            "keys",
            unit,
            [point(setting, f"{keys:,} keys: {kind}", f"{keys:,}", keys) for keys in counts],
            False,
        )
        for kind, title, unit in (
            ("memory", "Resident memory of a member", "MB"),
            ("memory-anonymous", "Memory of a member without mapped files", "MB"),
            ("restart", "Restart to the first linearizable read", "s"),
        )
    ]


SERIES = {
    "growth-keys": growth_keys,
    "growth-members": growth_members,
    "growth-values": growth_values,
    "restart-5m": states,
}
"""Name -> what measures it. `restart-5m` also tells the memory at 1 and 5 million keys."""
