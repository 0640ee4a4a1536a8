"""`python -m bench.catch_up --keys 5000000`: a follower far behind comes back under load.

Three members on loopback. One is stopped; so many keys are written that the log cannot bring it
level; it is started again, and comes back by a snapshot while puts go on at the leader. Printed is
the leader's rate of puts before, during and after, and how long the follower took.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench import load
from bench.fill import fill
from bench.load import Shape
from raftkv.client import Client
from raftkv.testing.process_cluster import ProcessCluster

CATCH_UP_ENTRIES = 500
WINDOW_S = 2.0
"""About how long one measurement of the rate is."""
WINDOWS = 5
POLL_S = 0.5
"""How often members are asked how far they are; each time costs them a connection."""
LEVEL_ENTRIES = 200
"""A follower that lags by less is level: some are always on their way."""
TIMEOUT_S = 1800.0


@dataclass(slots=True)
class Follower:
    """What a thread sees of the member that comes back."""

    leader: str
    endpoint: str
    filled_revision: int
    started: float
    installed_s: float = 0.0
    level_s: float = 0.0
    level: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Poll until the follower is level, or TIMEOUT_S have passed."""
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        while time.monotonic() < self.started + TIMEOUT_S:
            await asyncio.sleep(POLL_S)
            try:
                async with Client([self.endpoint], timeout_s=2) as client:
                    own = await client.status(0)
                async with Client([self.leader], timeout_s=2) as client:
                    leader = await client.status(0)
            except Exception:
                continue  # it still starts
            passed_s = time.monotonic() - self.started
            if not self.installed_s and own.header.revision >= self.filled_revision:
                self.installed_s = passed_s
            if self.installed_s and own.raftAppliedIndex + LEVEL_ENTRIES > leader.raftIndex:
                self.level_s = passed_s
                self.level.set()
                return


class Windows:
    """Rates of puts at one endpoint, each over about WINDOW_S."""

    def __init__(self, endpoint: str, shape: Shape) -> None:
        self._endpoint = endpoint
        self._shape = shape
        self._count = 2000

    def measure(self) -> float:
        measured = load.run(self._endpoint, load.PUT, self._shape, self._count)
        self._count = max(self._shape.in_flight, int(measured.requests_per_s * WINDOW_S))
        return measured.requests_per_s

    def several(self, count: int = WINDOWS) -> list[float]:
        self.measure()
        return [self.measure() for _ in range(count)]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(name: str, rates: list[float], away: float, all_up: float) -> str:
    """One row; the two rates are those to compare with."""
    median = statistics.median(rates)
    return (
        f"| {name} | {len(rates)} | {median:,.0f}/s | {min(rates):,.0f}/s"
        f" | {median / all_up:.2f} | {median / away:.2f} |"
    )


async def _revision(endpoint: str) -> int:
    async with Client([endpoint]) as client:
        return int((await client.status(0)).header.revision)


def measure(keys: int, shape: Shape, directory: Path) -> str:
    """Run everything once; returns the table."""
    flags = (f"--snapshot-catchup-entries={CATCH_UP_ENTRIES}", "--quota-backend-bytes=-1")
    with ProcessCluster(3, directory, flags) as cluster:
        cluster.wait_ready()
        leader = cluster.leader()
        away = (leader + 1) % 3
        windows = Windows(cluster.endpoints[leader], shape)
        all_up = windows.several()
        cluster.terminate(away)
        say(f"writing {keys:,} keys with one member away")
        fill_s = asyncio.run(fill(cluster.endpoints[leader], keys, say))
        say(f"filled in {fill_s:.0f} s; measuring with one member away")
        without = windows.several()
        revision = asyncio.run(_revision(cluster.endpoints[leader]))
        follower = Follower(
            cluster.endpoints[leader], cluster.endpoints[away], revision, time.monotonic()
        )
        cluster.start(away)
        watcher = threading.Thread(target=follower.watch, daemon=True)
        watcher.start()
        during: list[float] = []
        while watcher.is_alive():
            during.append(windows.measure())
            say(f"  {time.monotonic() - follower.started:6.1f} s {during[-1]:>10,.0f}/s")
        if not follower.level.is_set():
            raise RuntimeError(f"not level within {TIMEOUT_S} s:\n{cluster.log_tail(away)}")
        after = windows.several()
        if cluster.leader() != leader:
            raise RuntimeError("the leader changed: the rates are of different members")
        size = (directory / cluster.names[leader] / "member" / "state" / "data.mdb").stat().st_size
    compared = statistics.median(without), statistics.median(all_up)
    lines = [
        f"{keys:,} keys (16 B, 256 B), {shape.in_flight} puts in flight; written in {fill_s:.0f} s"
        f" ({keys / fill_s:,.0f} keys/s)",
        "",
        "| puts at the leader | windows | median | slowest | of three members | of one away |",
        "|---|---|---|---|---|---|",
        show("three members, before", all_up, *compared),
        show("one away", without, *compared),
        show("while it comes back", during, *compared),
        show("three members, after", after, *compared),
        "",
        f"snapshot installed {follower.installed_s:.1f} s after the start of the process,"
        f" level after {follower.level_s:.1f} s; the leader's state is {size / 1e6:,.0f} MB",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.catch_up", description=__doc__)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--streams", type=int, default=64, help="puts in flight (default 64)")
    parser.add_argument("--directory", type=Path, help="where data goes; default: temporary")
    options = parser.parse_args()
    shape = Shape(1, options.streams)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as directory:
        print(measure(options.keys, shape, Path(directory)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
