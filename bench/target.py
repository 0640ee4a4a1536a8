"""A running cluster that is measured: filled, its leader known, its costs read around a load."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench import operation
from bench.cluster import Cluster
from bench.generator import Outcome, Plan, Session
from bench.operation import KEY_PREFIX
from raftkv.client import Client

FLAGS = ("--quota-backend-bytes=17179869184",)
"""Both programs get them: the rounds of a suite may write more than the quota they come with."""
FILL_KEYS_PER_TXN = 100
FILL_IN_FLIGHT = 8
FILL_PART_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one case on one program."""

    value: float
    """The case's own figure."""
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0
    cpu_us: float = 0.0
    """CPU microseconds of all members per operation."""
    written_bytes: float = 0.0
    """Bytes that reached the disk, per operation; another program's count, too."""
    resident_mb: float = 0.0
    """Of the largest member, afterwards."""
    refused: float = 0.0
    """The part of the requests that was refused, in [0, 1]."""


def milliseconds(outcome: Outcome, *, deliveries: bool = False) -> dict[str, float]:
    """Return the percentiles of a sample; of requests, refusals are infinitely late."""
    if outcome.refusals and not deliveries:
        names = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
        return {name: outcome.quantile_ms(fraction) for name, fraction in names.items()}
    seen = outcome.delivery_latencies if deliveries else outcome.latencies
    return {
        "p50_ms": seen.quantile(0.5) / 1e6,
        "p90_ms": seen.quantile(0.9) / 1e6,
        "p99_ms": seen.quantile(0.99) / 1e6,
        "p999_ms": seen.quantile(0.999) / 1e6,
        "max_ms": seen.max_ns / 1e6,
    }


@dataclass(slots=True)
class Costs:
    """What a load cost the members."""

    cpu_s: float
    written_bytes: int


@dataclass(slots=True)
class Target:
    """One program's cluster."""

    program: str
    cluster: Cluster
    leader: str = ""
    """host:port of the leader: where the load goes."""
    leader_at: int = 0
    tables: dict[bytes, array[int]] = field(default_factory=dict)
    """Prefix -> the last known revision of each of its keys."""
    filled_revision: int = 0
    filled_resident_mb: float = 0.0
    """Of the largest member, as it was when first asked for: the rounds write more."""
    leases: array[int] = field(default_factory=lambda: array("q"))

    def find_leader(self) -> None:
        """Learn who leads; it must stay so. RuntimeError where nobody does."""
        self.leader_at = asyncio.run(leader_of(self.cluster.endpoints))
        self.leader = self.cluster.endpoints[self.leader_at]

    def check_leader(self) -> None:
        """Raise RuntimeError if another leads than when the load began."""
        if asyncio.run(leader_of(self.cluster.endpoints)) != self.leader_at:
            raise RuntimeError(
                f"{self.program}: the leader has changed: the round is worth nothing"
            )

    def fill(
        self, keys: int, size: int, say: Callable[[str], None], prefix: bytes = KEY_PREFIX
    ) -> None:
        """Write keys 0 to `keys`, a multiple of FILL_KEYS_PER_TXN, with values of `size` bytes."""
        table = self.tables[prefix] = array("q", bytes(8 * keys))
        per_txn = min(FILL_KEYS_PER_TXN, max(1, 1_000_000 // (size + 64)))
        fill = operation.fill(per_txn, size, prefix)
        for start in range(0, keys, FILL_PART_KEYS):
            part = min(FILL_PART_KEYS, keys - start)
            plan = Plan(
                [self.leader],
                [fill],
                streams=FILL_IN_FLIGHT,
                space=keys,
                order="sequential",
                stride=per_txn,
                start=start,
                count=-(-part // per_txn),
            )
            outcome, _ = self.measure(plan, table)
            outcome.raise_for_errors()
            self.filled_revision = outcome.revision
            if keys > FILL_PART_KEYS:
                say(f"  {self.program}: {start + part:,} of {keys:,} keys written")

    def measure(self, plan: Plan, table: array[int] | None = None) -> tuple[Outcome, Costs]:
        """Run a plan and read what it cost; opening connections and watches does not count."""
        opened = Session(plan, table)
        opened.open()
        try:
            cpu_s, written = self.cluster.cpu_s(), self.cluster.written_bytes()
            outcome = opened.run()
            return outcome, Costs(
                self.cluster.cpu_s() - cpu_s, self.cluster.written_bytes() - written
            )
        finally:
            opened.close()

    def sample(
        self,
        plan: Plan,
        table: array[int] | None = None,
        value: Callable[[Outcome], float] = lambda outcome: outcome.rate,
        *,
        deliveries: bool = False,
        refusals: bool = False,
    ) -> Sample:
        """Run a plan in which every request must succeed, or be refused where `refusals` says so.

        CPU is per delivery where asked.
        """
        outcome, costs = self.measure(plan, table)
        outcome.raise_for_errors(refusals=refusals)
        done = max(1, outcome.deliveries if deliveries else outcome.completed)
        return Sample(
            value(outcome),
            **milliseconds(outcome, deliveries=deliveries),
            cpu_us=costs.cpu_s * 1e6 / done,
            written_bytes=costs.written_bytes / done,
            resident_mb=self.cluster.resident_bytes() / 1e6,
            refused=outcome.refusals / max(1, outcome.issued),
        )

    def recover(self) -> None:
        """Start members that have ended, wait until all are healthy, and learn who leads."""
        self.cluster.revive()
        self.find_leader()

    def grant_leases(self, count: int) -> array[int]:
        """Grant leases for keep-alives, once; returns their ids."""
        if len(self.leases) < count:
            self.leases = asyncio.run(_grant(self.leader, count))
        return self.leases


async def leader_of(endpoints: list[str]) -> int:
    """Return the place of the leader among the endpoints."""
    async with Client(endpoints) as client:
        for at in range(len(endpoints)):
            status = await client.status(at)
            if status.leader == status.header.member_id:
                return at
    raise RuntimeError("no member says that it leads")


async def _grant(endpoint: str, count: int) -> array[int]:
    async with Client([endpoint]) as client:
        return array("q", [(await client.lease_grant(3600)).ID for _ in range(count)])


def started(command: list[str], program: str, members: int, directory: Path) -> Target:
    """Start a cluster and find its leader; stop it by `target.cluster.stop()`."""
    target = Target(program, Cluster(command, members, directory / program, FLAGS))
    try:
        target.cluster.__enter__()
        target.find_leader()
    except BaseException:
        target.cluster.stop()
        raise
    return target
