"""`python -m bench.limits`: what one client can cost a member, and the others.

For each strain: the member's memory before and at its peak, and the 99th percentile of another
client's reads and writes without and with it, measured by turns. Anonymous memory is what the
member holds; pages of its files, which the kernel takes back when it needs them, are listed apart.
"""

from __future__ import annotations

import argparse
import json
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO

from bench.cluster import Cluster, raftkv_command
from bench.report import commit, cores

SAMPLE_S = 0.02
STOP_TIMEOUT_S = 10.0
SMOKE_SCALE = 0.02


@dataclass(frozen=True, slots=True)
class Case:
    """One strain: what is done before it and beside it, which it is not to be blamed for."""

    title: str
    load: str
    before: str = ""
    beside: str = ""
    while_it_begins: bool = False
    """Measured from its first step; it has to be on before the measuring ends."""


CASES = (
    Case("a watcher that does not read, 3 MiB/s of events", "slow_watcher", beside="writer"),
    Case("10,000 idle watchers, a stream each", "idle_watchers"),
    Case("values of 1.5 MiB, five a second", "large_values"),
    Case("a range of 1 GiB, read at 20 MiB/s", "slow_range", before="fill"),
    # Afterwards they cost nothing but memory.
    Case("5,000 connections, opened at once", "connections", while_it_begins=True),
    Case("malformed frames, 32 connections at once", "garbage"),
)


@dataclass(slots=True)
class Result:
    """Figures of one case; latencies in milliseconds, per round."""

    case: Case
    rss_before: int = 0
    rss_peak: int = 0
    file_peak: int = 0
    without: dict[str, list[float]] = field(default_factory=lambda: {"read": [], "write": []})
    strained: dict[str, list[float]] = field(default_factory=lambda: {"read": [], "write": []})

    def ratio(self, kind: str) -> float:
        return statistics.median(self.strained[kind]) / statistics.median(self.without[kind])


def memory(pid: int) -> tuple[int, int]:
    """Return a process's anonymous and its file-backed resident bytes."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    anonymous, file = (int(fields[name].split()[0]) << 10 for name in ("RssAnon", "RssFile"))
    return anonymous, file


class Sampler:
    """Watches a process's memory from a thread; `with` it."""

    def __init__(self, pid: int, result: Result) -> None:
        self._pid = pid
        self._result = result
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            anonymous, file = memory(self._pid)
            self._result.rss_peak = max(self._result.rss_peak, anonymous)
            self._result.file_peak = max(self._result.file_peak, file)


@contextmanager
def strain(load: str, endpoint: str, scale: float, while_it_begins: bool = False) -> Iterator[None]:
    """Keep a load on for as long as the block runs; RuntimeError where it is not on by its end."""
    command = [sys.executable, "-m", "bench.limits_load", load, endpoint, str(scale)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    try:
        expect(process.stdout, b"begun" if while_it_begins else b"ready", load)
        yield
        if while_it_begins:
            if not select.select([process.stdout], [], [], 0)[0]:
                raise RuntimeError(f"{load} took longer to begin than the measuring")
            expect(process.stdout, b"ready", load)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def expect(lines: IO[bytes], word: bytes, load: str) -> None:
    """Read up to a line that says `word`."""
    for line in lines:
        if line.strip() == word:
            return
    raise RuntimeError(f"the load {load} ended")


def probe(endpoint: str, seconds: float, into: dict[str, list[float]]) -> None:
    """Measure an ordinary client once."""
    command = [sys.executable, "-m", "bench.limits_probe", endpoint, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for kind, figures in json.loads(done.stdout).items():
        into[kind].append(figures["p99"])


def run_case(case: Case, directory: Path, rounds: int, seconds: float, scale: float) -> Result:
    """Run one case on a member of its own."""
    result = Result(case)
    with Cluster(raftkv_command(), 1, directory) as cluster:
        endpoint, pid = cluster.endpoints[0], cluster.processes[0].pid
        if case.before:
            with strain(case.before, endpoint, scale):
                pass
        probe(endpoint, min(1.0, seconds), {"read": [], "write": []})  # warms the member up
        for _ in range(rounds):
            if case.beside:
                with strain(case.beside, endpoint, scale):
                    round_of(case, endpoint, pid, seconds, scale, result)
            else:
                round_of(case, endpoint, pid, seconds, scale, result)
    return result


def round_of(
    case: Case, endpoint: str, pid: int, seconds: float, scale: float, result: Result
) -> None:
    """Measure without and with the strain; memory from before the strain begins."""
    probe(endpoint, seconds, result.without)
    result.rss_before = result.rss_before or memory(pid)[0]
    with Sampler(pid, result), strain(case.load, endpoint, scale, case.while_it_begins):
        probe(endpoint, seconds, result.strained)


def table(results: list[Result], rounds: int) -> str:
    """A section of RESULTS.md."""
    lines = [
        f"## What one client can cost, {date.today().isoformat()}",
        "",
        f"`python -m bench.limits` at commit {commit()}, {cores()} cores; one member, {rounds}"
        " rounds, medians; p99 of another client's reads and writes without → with the strain."
        " Memory is anonymous, file pages apart.",
        "",
        "| strain | memory before → peak | file pages | read p99 | write p99 |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        cells = [
            f"{result.rss_before >> 20} → {result.rss_peak >> 20} MiB",
            f"{result.file_peak >> 20} MiB",
        ]
        for kind in ("read", "write"):
            without = statistics.median(result.without[kind])
            strained = statistics.median(result.strained[kind])
            cells.append(f"{without:.1f} → {strained:.1f} ms ({result.ratio(kind):.2f} ×)")
        lines.append(f"| {result.case.title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.limits", description=__doc__)
    parser.add_argument("--case", choices=[case.load for case in CASES], help="only this one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--scale", type=float, default=1.0, help="of the strains' sizes")
    parser.add_argument("--smoke", action="store_true", help="small and short, shows that it runs")
    parser.add_argument("--write", action="store_true", help="add the table to bench/RESULTS.md")
    options = parser.parse_args()
    rounds, seconds, scale = options.rounds, options.seconds, options.scale
    if options.smoke:
        rounds, seconds, scale = 1, 0.5, SMOKE_SCALE
    results = []
    for case in CASES:
        if options.case in (None, case.load):
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="limits-") as directory:
                results.append(run_case(case, Path(directory), rounds, seconds, scale))
            print(f"{case.load}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    text = table(results, rounds)
    print(text)
    if options.write and not options.smoke:
        with open(Path(__file__).parent / "RESULTS.md", "a") as file:
            file.write("\n" + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
