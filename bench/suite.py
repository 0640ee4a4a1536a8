"""The same requests to raftkv and to etcd, in alternation; medians of the rounds."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench import load
from bench.cluster import Cluster
from bench.load import Measured, Shape
from raftkv.client import Client
from raftkv.pb.etcd import rpc_pb2 as pb

ONE = Shape(1, 1)
MANY = Shape(1, 64)
FULL = Shape(10, 100)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table; `count` requests at real size."""

    name: str
    request: tuple[str, bytes]
    shape: Shape
    count: int


CASES = (
    Case("put, 1 in flight", load.PUT, ONE, 2_000),
    Case("put, 64 in flight", load.PUT, MANY, 30_000),
    Case("put, 1,000 in flight", load.PUT, FULL, 60_000),
    Case("linearizable range, 1,000 in flight", load.LINEARIZABLE_RANGE, FULL, 60_000),
    Case("serializable range, 1,000 in flight", load.SERIALIZABLE_RANGE, FULL, 100_000),
)


@dataclass(slots=True)
class Row:
    """Rounds of one case, by program."""

    case: Case
    rounds: dict[str, list[Measured]] = field(default_factory=dict)

    def median_rate(self, program: str) -> float:
        return statistics.median(m.requests_per_s for m in self.rounds[program])

    def median_ms(self, program: str) -> float:
        return statistics.median(m.mean_ms for m in self.rounds[program])


async def leader(cluster: Cluster) -> str:
    """Give the endpoint of the leader."""
    async with Client(cluster.endpoints) as client:
        for at, endpoint in enumerate(cluster.endpoints):
            status = await client.status(at)
            if status.leader == status.header.member_id:
                return endpoint
    raise RuntimeError("no member says that it leads")


async def revision(endpoint: str) -> int:
    async with Client([endpoint]) as client:
        request = pb.RangeRequest(key=load.KEY, count_only=True)
        return int((await client.range(request)).header.revision)


def measure(endpoint: str, case: Case, count: int) -> Measured:
    """Run one case and check by the store's revision that every put was really done."""
    before = asyncio.run(revision(endpoint))
    measured = load.run(endpoint, case.request, case.shape, count)
    written = asyncio.run(revision(endpoint)) - before
    expected = count if case.request is load.PUT else 0
    if written != expected:
        raise RuntimeError(f"{case.name}: {written} revisions written, {expected} expected")
    return measured


def compare(
    programs: dict[str, list[str]],
    members: int,
    directory: Path,
    rounds: int,
    scale: float,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> list[Row]:
    """Start each program's cluster and run every case on them in turn, `rounds` times.

    All clusters run at once, which costs memory only: an idle one takes no turn of the processor
    worth naming, and alternation needs them at hand. `scale` shortens each case.
    """
    rows = [Row(case, {program: [] for program in programs}) for case in CASES]
    clusters: dict[str, Cluster] = {}
    try:
        for program, command in programs.items():
            say(f"starting {members} × {program}")
            clusters[program] = Cluster(command, members, directory / program).__enter__()
        leaders = {program: asyncio.run(leader(c)) for program, c in clusters.items()}
        for number in range(rounds):
            for row in rows:
                count = max(int(row.case.count * scale), row.case.shape.in_flight)
                for program, endpoint in leaders.items():
                    measured = measure(endpoint, row.case, count)
                    row.rounds[program].append(measured)
                    rate = f"{measured.requests_per_s:>10,.0f}/s"
                    say(f"round {number + 1}/{rounds}  {row.case.name:<38}{program:<8}{rate}")
    finally:
        for cluster in clusters.values():
            cluster.stop()
    return rows
