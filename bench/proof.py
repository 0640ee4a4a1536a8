"""`python -m bench prove`: the generator is not the bottleneck, and agrees with another.

Against a server that answers constantly it must do far more than either program; against one
etcd its rate of puts must be that of h2load (package nghttp2-client), in alternation, within noise.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import load, operation
from bench.cluster import Cluster, etcd_command
from bench.generator import Plan, measure
from bench.load import Shape

SHAPES = (Shape(1, 1), Shape(1, 64), Shape(10, 100))


@contextmanager
def constant_server() -> Iterator[str]:
    """Run the constant server; gives its host:port."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.constant_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


@dataclass(frozen=True, slots=True)
class Saturation:
    """What the generator does where the server costs next to nothing."""

    rate: float
    cpu_us: float
    """Microseconds of the generator's own CPU per request."""


def saturate(seconds: float, threads: int = 1) -> Saturation:
    """Put as much load as the generator can on the constant server."""
    with constant_server() as endpoint:
        plan = Plan(
            [endpoint],
            [operation.put()],
            connections=10,
            streams=100,
            duration_s=seconds,
            threads=threads,
        )
        before = resource.getrusage(resource.RUSAGE_SELF)
        outcome = measure(plan)
        after = resource.getrusage(resource.RUSAGE_SELF)
    outcome.raise_for_errors()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Saturation(outcome.rate, used * 1e6 / outcome.completed)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Puts a second by both generators."""

    shape: Shape
    ours: float
    h2load: float


def agree(count_scale: float = 1.0, rounds: int = 5) -> list[Agreement]:
    """Measure puts of one key at one etcd with both generators in alternation; the medians."""
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        Cluster(etcd_command(), 1, Path(directory)) as cluster,
    ):
        endpoint = cluster.endpoints[0]
        for shape in SHAPES:
            count = max(shape.in_flight, int(count_scale * (500 if shape == SHAPES[0] else 10_000)))
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(rate_of_puts(endpoint, shape, count))
                theirs.append(load.run(endpoint, load.PUT, shape, count).requests_per_s)
            found.append(Agreement(shape, statistics.median(ours), statistics.median(theirs)))
    return found


def rate_of_puts(endpoint: str, shape: Shape, count: int) -> float:
    plan = Plan(
        [endpoint],
        [operation.put()],
        connections=shape.connections,
        streams=shape.streams,
        space=1,
        count=count,
    )
    outcome = measure(plan, array("q"))
    outcome.raise_for_errors()
    return outcome.rate


def run_proof() -> int:
    """Print both proofs."""
    most = saturate(3.0)
    print(
        f"constant answers, 1,000 in flight: {most.rate:,.0f}/s,"
        f" {most.cpu_us:.2f} µs of the generator's CPU each"
    )
    for seen in agree():
        print(
            f"etcd, {seen.shape.in_flight:,} puts in flight: {seen.ours:,.0f}/s,"
            f" h2load {seen.h2load:,.0f}/s, ratio {seen.ours / seen.h2load:.2f}"
        )
    return 0
