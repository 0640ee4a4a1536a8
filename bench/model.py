"""`python -m bench.model`: what bounds one Raft group, as a formula, held against RESULTS.md.

A lone put waits for what cannot be done at once:

    T(n) = s(n) + m · r + p · b          n = 1: m = 1, p = 1;  n > 1: m = 2, p = 2

s(n): a write and a sync, while n members sync on the same disk (the leader's and the followers'
overlap, the slowest that is needed counts). r: a message there and back, of the client, and of the
leader's to the quicker follower. b: CPU of one member for a batch, whatever is in it; on the path
are the leader's and that follower's. All members' CPU has to be found, too: T(n) ≥ n · b / cores.

With K in flight, a put comes while a batch is under way, waits half of it on average, then takes
its own; and each put of the K costs w(n), the time in which the machine gets through one put:

    X(K, n) = K / ((K > 1 ? 1.5 : 1) · T(n) + K · w(n))
    w(n) = max(c(1), (c(n) + g) / cores, d / v(n))

c(n): CPU of all members per put in a full batch. c(1) is what one member needs alone, on its one
loop: more cores do not help that. g: the generator's CPU, which is on the same machine. d: bytes
that a member writes per put (`disk_bytes`). v(n): bytes a second to the disk, where n write.

What is put in: the machine's own figures (`bench.machine`), b and c from the CPU that was measured
with 1 and with 1,000 in flight. What comes out is held against rates, which were not put in.
"""

from __future__ import annotations

import math
import re
import statistics
import sys
from dataclasses import dataclass

from bench.machine import Machine, read_table
from bench.results import RESULTS
from bench.series import KEYS_DEFAULT

GENERATOR_S = 1.9e-6
"""CPU of the load generator per request (`python -m bench prove`)."""
KEY_BYTES, VALUE_BYTES = 16, 256
LOG_HEAD_BYTES = 40
"""Of a put in the log: its protobuf, its place in the batch, its share of entry and frame."""
HISTORY_HEAD_BYTES, INDEX_ROW_BYTES = 60, 72
"""Of a row of history; a row of the index, whose value has 40."""
PAGE_BYTES, TABLE_KEYS = 4096, 32_768
IN_FLIGHT = (1, 64, 1000)
WAITS = 1.5
PROGRAM = "raftkv"
MEASURED_TITLE = "Puts by number of members, {:,} in flight"
TITLE = "What bounds a group"


@dataclass(frozen=True, slots=True)
class Measured:
    """What RESULTS.md says of one number of members and in flight."""

    rate: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds."""

    batch_s: float
    """Of one member for a batch."""
    put_s: dict[int, float]
    """Members -> of all of them for a put in a full batch."""


def costs_of(measured: dict[tuple[int, int], Measured]) -> Costs:
    """Separate what a batch costs from what a put costs.

    The CPU of a lone put is that of a batch with one put in it.
    """
    members = sorted({n for n, _ in measured})
    put_s = {n: measured[n, 1000].cpu_s for n in members}
    batch_s = statistics.median((measured[n, 1].cpu_s - put_s[n]) / n for n in members)
    return Costs(max(0.0, batch_s), put_s)


def disk_bytes(keys: int, value_bytes: int = VALUE_BYTES) -> float:
    """Return the bytes that a member writes per put of a random one of `keys` keys.

    The log has each put once and history once. A flush copies every page of the index that has one
    of the table's keys: few pages where keys are few, nearly one a put where they are many.
    """
    pages = max(1.0, keys * INDEX_ROW_BYTES / PAGE_BYTES)
    touched = pages * (1 - math.exp(-min(keys, TABLE_KEYS) / pages))
    once = KEY_BYTES + value_bytes
    return 2 * once + LOG_HEAD_BYTES + HISTORY_HEAD_BYTES + touched * PAGE_BYTES / TABLE_KEYS


def lone_put_s(machine: Machine, costs: Costs, members: int) -> float:
    """T(n)."""
    steps = 1 if members == 1 else 2
    path_s = machine.sync_s[members] + steps * (machine.round_trip_s + costs.batch_s)
    return max(path_s, members * costs.batch_s / machine.cores)


def work_s(machine: Machine, costs: Costs, members: int) -> float:
    """w(n)."""
    cpu_s = (costs.put_s[members] + GENERATOR_S) / machine.cores
    disk_s = disk_bytes(KEYS_DEFAULT) / machine.bytes_per_s(members)
    return max(costs.put_s[min(costs.put_s)], cpu_s, disk_s)


def rate(machine: Machine, costs: Costs, members: int, in_flight: int) -> float:
    """X(K, n): puts a second."""
    waits = WAITS if in_flight > 1 else 1.0
    cycle_s = waits * lone_put_s(machine, costs, members)
    return in_flight / (cycle_s + in_flight * work_s(machine, costs, members))


def read_measured(text: str) -> dict[tuple[int, int], Measured]:
    """Read the tables of puts by members. ValueError where one is missing."""
    found = {}
    for in_flight in IN_FLIGHT:
        _, _, section = text.partition(f"## {MEASURED_TITLE.format(in_flight)}\n")
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in section.split("\n## ")[0].splitlines()
            if line.startswith("|")
        ]
        if not rows:
            raise ValueError(f"no table of puts with {in_flight:,} in flight")
        rate_at = rows[0].index(f"{PROGRAM}, /s")
        cpu_at = rows[0].index(f"CPU {PROGRAM}, µs/op")
        for row in rows[2:]:
            if re.fullmatch(r"[\d,.]+", row[cpu_at]):
                cpu_s = float(row[cpu_at].replace(",", "")) / 1e6
                of_row = Measured(float(row[rate_at].replace(",", "")), cpu_s)
                found[int(row[0]), in_flight] = of_row
    return found


def compared(
    machine: Machine, measured: dict[tuple[int, int], Measured]
) -> dict[tuple[int, int], float]:
    """Return (members, in flight) -> what the model says divided by what was measured."""
    costs = costs_of(measured)
    return {
        (members, in_flight): rate(machine, costs, members, in_flight) / of_point.rate
        for (members, in_flight), of_point in measured.items()
    }


def table(machine: Machine, measured: dict[tuple[int, int], Measured]) -> str:
    """Tell what was put in, and every point beside its measurement."""
    costs, ratios = costs_of(measured), compared(machine, measured)
    put = ", ".join(f"{n} members {c * 1e6:.1f} µs" for n, c in costs.put_s.items())
    lines = [
        f"A batch costs a member {costs.batch_s * 1e6:.0f} µs of CPU; a put all of them: {put}.",
        "",
        "| members | in flight | model | measured | model / measured |",
        "|---|---|---|---|---|",
    ]
    for (members, in_flight), ratio in sorted(ratios.items()):
        seen = measured[members, in_flight].rate
        lines.append(
            f"| {members} | {in_flight:,} | {seen * ratio:,.0f}/s | {seen:,.0f}/s | {ratio:.2f} |"
        )
    return "\n".join([*lines, ""])


def section(text: str) -> str:
    """Return the section of RESULTS.md, out of the others. ValueError where one is missing."""
    told = table(read_table(text), read_measured(text))
    return (
        "`python -m bench.model`, from the sections of the machine and of the puts by number of"
        f" members; docs/growth.md says what the model is.\n\n{told}"
    )


def main() -> int:
    text = RESULTS.read_text()
    try:
        told = section(text)
    except ValueError as error:
        print(f"{RESULTS.name}: {error}; `python -m bench compare --write` makes it")
        return 1
    print(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
