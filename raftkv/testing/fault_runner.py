"""Three real members under recorded load, broken at random, checked after every epoch.

`python -m raftkv.testing.fault_runner --minutes 30 --seed 1`

As root, each member has a network namespace and a disk of its own, so that networks can be cut and
disks filled; otherwise members are only killed, paused and replaced. The seed decides what is asked
and broken, but not how processes and networks behave: unlike the simulator's, a run cannot be
repeated.

Replaced means removed through the API, and a new one, empty, in its place. Clocks run at other
rates, and wall clocks are off by up to a day, by a wrapper around Python's.

What it does not cover: power cuts (the kernel keeps what a killed process wrote), monotonic clocks
that jump (they do not), reordered packets below TCP, disks that lie.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from raftkv.testing.availability import NONE, Availability, FaultSpan
from raftkv.testing.fault_load import LEASE_TTL_S, EpochRecord, FaultLoad
from raftkv.testing.faults import CLOCK_RATES, FAULTS, GROUPS, Fault, Injection
from raftkv.testing.history import Outcome, Violation, line
from raftkv.testing.lease_check import LeaseBook
from raftkv.testing.namespace_cluster import NamespaceCluster, enter, missing_facilities
from raftkv.testing.process_cluster import ClusterNotReady, ProcessCluster
from raftkv.testing.revision_check import RevisionHistory, check_operations, collect_events
from raftkv.testing.watch_check import WatchedHistory, check_stream

__all__ = ["FaultRunner", "main"]

MEMBERS = 3
EPOCH_S = 30.0
EPOCH_S_MIN = 10.0
"""What remains of a run is not worth an epoch if it is less."""
LEASE_GRACE_S = 2.5
"""How late a lease may end: the leader looks twice a second, and this machine may be busy."""
QUIET_S = LEASE_TTL_S / min(CLOCK_RATES) + LEASE_GRACE_S + 0.5
"""The peace at the end of an epoch, long enough for every lease that nobody renews to end."""
BETWEEN_S = (0.3, 2.0)
SECOND_FAULT = 0.2
"""The probability that a fault comes with another one, at another member."""
TWO = "two at once"
READY_S_MAX = 40.0
FLAGS = ("--heartbeat-interval=100", "--election-timeout=1000", "--snapshot-count=500")


@dataclass(slots=True)
class Totals:
    """What a run has done so far."""

    epochs: int = 0
    operations: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    revisions: int = 0
    streams: int = 0
    checking_s: float = 0.0
    skipped: Counter[str] = field(default_factory=Counter)
    """Faults that turned out to be impossible, because of another one."""
    availability: Availability = field(default_factory=Availability)


class FaultRunner:
    """Breaks members of `cluster`, which runs, with some of FAULTS."""

    def __init__(
        self, cluster: ProcessCluster, faults: Sequence[Fault], seed: int, console: Console
    ) -> None:
        self._cluster = cluster
        self._faults = list(faults)
        self._seed = seed
        self._dice = random.Random(seed)
        self._console = console
        self._history = RevisionHistory()
        self._compacted = 0
        rates = (1.0, *CLOCK_RATES)
        self._leases = LeaseBook(fastest=max(rates), slowest=min(rates))
        self._record = EpochRecord()
        self.totals = Totals()

    def write_record(self, path: Path) -> None:
        """Write down all that clients saw in the last epoch, by the time of the call."""
        with path.open("w") as file:
            for operation in sorted(self._record.operations, key=lambda one: one.called):
                print(line(operation), file=file)
            for stream in self._record.streams:
                print(f"watch of {stream.client} at {stream.endpoint}", file=file)
                for when, response in stream.responses:
                    print(f"    {when:.6f}", line(response), file=file)

    def run(self, seconds: float) -> None:
        """Run epochs for so long, at least one. Raises Violation, ClusterNotReady."""
        self._cluster.wait_ready(timeout_s=READY_S_MAX)
        deadline = time.monotonic() + seconds
        while True:
            self._epoch(min(EPOCH_S, max(deadline - time.monotonic(), EPOCH_S_MIN)))
            if time.monotonic() > deadline - EPOCH_S_MIN:
                return

    def _epoch(self, seconds: float) -> None:
        began = time.monotonic()
        load = FaultLoad(
            self._cluster.endpoints,
            self._history.revision,
            self._compacted,
            self.totals.epochs,
            self._seed,
        )
        load.start()
        spans: list[FaultSpan] = []
        try:
            while time.monotonic() < began + seconds - QUIET_S:
                time.sleep(self._dice.uniform(*BETWEEN_S))
                spans += self._break_something(load)
            self._cluster.wait_ready(timeout_s=READY_S_MAX)
            quiet_since = time.monotonic()
            time.sleep(QUIET_S)
            ended = time.monotonic()
        except BaseException:
            with suppress(Exception):  # what came first is what matters
                load.finish()
            raise
        record = load.finish()
        self._record = record
        self._check_running()
        self.totals.availability.add(record.operations, spans, began, ended)
        self._check(record, quiet_since)
        self._report(spans)

    def _break_something(self, load: FaultLoad) -> list[FaultSpan]:
        """Begin one fault or two, wait, and heal what they broke."""
        members = list(range(MEMBERS))
        self._dice.shuffle(members)
        if self._dice.random() < 0.5:
            with suppress(ClusterNotReady):
                leader = self._cluster.leader(timeout_s=2.0)
                members.sort(key=lambda one: one != leader)
        count = 2 if self._dice.random() < SECOND_FAULT else 1
        active: list[tuple[Fault, Injection, float]] = []
        for member in members[:count]:
            choices = [one for one in self._faults if not (active and one.name == "kill all")]
            fault = self._dice.choice(choices)
            others = [one for one in range(MEMBERS) if one != member]
            seconds = self._dice.uniform(*fault.seconds)
            injection = Injection(
                self._cluster, member, others, self._dice, seconds, load.flood, alone=not active
            )
            self._console.log(f"{fault.name} at {member} for {seconds:.1f} s")
            active.append((fault, injection, time.monotonic()))
            fault.begin(injection)
            if fault.name == "kill all":
                break
        return self._heal(active)

    def _heal(self, active: list[tuple[Fault, Injection, float]]) -> list[FaultSpan]:
        """Wait until faults have lasted long enough, and heal one after the other."""
        done = [one for one in active if not one[1].is_skipped]
        self.totals.skipped.update(fault.name for fault, one, _ in active if one.is_skipped)
        done.sort(key=lambda one: (one[0].heals_last, one[2] + one[1].seconds))
        spans: list[FaultSpan] = []
        for fault, injection, began in done:
            time.sleep(max(began + injection.seconds - time.monotonic(), 0))
            fault.end(injection)
            name = fault.name if len(done) == 1 else TWO
            spans.append(FaultSpan(name, injection.member, began, time.monotonic()))
        return spans[:1] if len(done) == 2 else spans

    def _check_running(self) -> None:
        """No member may have ended by itself."""
        for member in range(MEMBERS):
            if not self._cluster.runs(member):
                raise Violation(
                    "a member does not end by itself",
                    f"member {member} ended:\n{self._cluster.log_tail(member)}",
                )

    def _check(self, record: EpochRecord, quiet_since: float) -> None:
        began = time.monotonic()
        base_revision, base_keys = self._history.revision, dict(self._history.keys)
        events = collect_events(record.streams)
        self._leases.add(record.operations, began)
        seen = _first_seen(record)
        ends = check_operations(
            self._history,
            record.operations,
            events,
            record.end_revision,
            lambda end: self._leases.may_end(end, seen[end.revision]),
        )
        watched = WatchedHistory(base_revision, base_keys, events, record.compacted)
        for stream in record.streams:
            check_stream(watched, stream)
        if len(set(record.hashes.values())) != 1:
            raise Violation("members' states are equal", f"hashes differ: {record.hashes}")
        for end in ends:
            self._leases.check_end(end, seen[end.revision])
        cut_s = max(one.called for one in record.operations)
        self._leases.check_remaining(self._history.keys, cut_s, quiet_since, LEASE_GRACE_S)
        self._compacted = record.compacted
        totals = self.totals
        totals.epochs += 1
        totals.revisions += self._history.revision - base_revision
        totals.streams += len(record.streams)
        for operation in record.operations:
            totals.operations[operation.outcome] += 1
        totals.checking_s += time.monotonic() - began

    def _report(self, spans: Sequence[FaultSpan]) -> None:
        totals = self.totals
        counts = ", ".join(f"{totals.operations[one]} {one.value}" for one in Outcome)
        self._console.log(
            f"epoch {totals.epochs}: {len(spans)} faults; in all {counts},"
            f" {totals.revisions} revisions, {totals.streams} watch streams; no violation"
        )


def _first_seen(record: EpochRecord) -> dict[int, float]:
    """Return when the first watch was told of each revision."""
    seen: dict[int, float] = {}
    for stream in record.streams:
        for when, response in stream.responses:
            for event in response.events:
                revision = event.kv.mod_revision
                seen[revision] = min(when, seen.get(revision, when))
    return seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where a violation was found."""
    parser = argparse.ArgumentParser(prog="python -m raftkv.testing.fault_runner")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to break things")
    parser.add_argument("--seed", type=int, default=None, help="what to ask and to break")
    parser.add_argument("--faults", default=",".join(GROUPS), help=f"some of {','.join(GROUPS)}")
    parser.add_argument(
        "--loopback", action="store_true", help="no namespaces: kill, pause, replace"
    )
    parser.add_argument("--directory", type=Path, help="where data and logs go; default: temporary")
    given = parser.parse_args(arguments)
    groups = set(given.faults.split(","))
    if not groups <= set(GROUPS):
        parser.error(f"no such faults: {', '.join(sorted(groups - set(GROUPS)))}")
    console = Console()
    missing = ["--loopback"] if given.loopback else missing_facilities()
    if missing:
        console.log(f"without namespaces ({', '.join(missing)}): kill, pause and replace only")
    else:
        enter([sys.executable, "-m", "raftkv.testing.fault_runner", *(arguments or sys.argv[1:])])
    faults = [
        fault
        for fault in FAULTS.values()
        if fault.group in groups and not (missing and fault.needs_namespaces)
    ]
    if not faults:
        parser.error("none of these faults is possible here")
    seed = given.seed if given.seed is not None else random.randrange(1 << 32)
    console.log(f"seed {seed}, {', '.join(fault.name for fault in faults)}")
    directory = given.directory or Path(tempfile.mkdtemp(prefix="raftkv-faults-"))
    directory.mkdir(parents=True, exist_ok=True)
    kind = ProcessCluster if missing else NamespaceCluster
    with kind(MEMBERS, directory, FLAGS) as cluster:
        runner = FaultRunner(cluster, faults, seed, console)
        violation = _run(runner, given.minutes * 60)
    _print_totals(runner.totals, console)
    if violation is None:
        console.print("violations: 0")
        if given.directory is None:
            shutil.rmtree(directory)
        return 0
    runner.write_record(directory / "history.txt")
    console.print(f"violations: 1; members' logs and the last epoch are in {directory}")
    print(violation, flush=True)
    return 1


def _run(runner: FaultRunner, seconds: float) -> Violation | None:
    """Run, and return what was found."""
    try:
        runner.run(seconds)
    except Violation as violation:
        return violation
    except ClusterNotReady as error:
        return Violation("a healed cluster serves", str(error))
    return None


def _print_totals(totals: Totals, console: Console) -> None:
    table = Table("fault", "times", "skipped", "longest time without a write", title="Faults")
    availability = totals.availability
    for name in (*FAULTS, TWO, NONE):
        if name in availability.longest_s or totals.skipped[name]:
            count = str(availability.counts.get(name, ""))
            table.add_row(
                name,
                count,
                str(totals.skipped[name] or ""),
                f"{availability.longest_s.get(name, 0):.2f} s",
            )
    console.print(table)
    counts = ", ".join(f"{totals.operations[one]} {one.value}" for one in Outcome)
    console.print(
        f"{totals.epochs} epochs; requests: {counts}; {totals.revisions} revisions,"
        f" {totals.streams} watch streams; checked in {totals.checking_s:.1f} s"
    )


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(main())
