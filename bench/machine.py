"""`python -m bench.machine`: what the machine itself does, for `bench.model`.

Syncs as the log does them: a write of whole sectors into a file that has its blocks, then
`fdatasync`; by as many processes at once as a cluster has members, because here they share the
disk. And a byte there and back between two processes over loopback.
"""

from __future__ import annotations

import math
import os
import re
import socket
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

WRITERS = (1, 3, 5)
SMALL_BYTES, LARGE_BYTES = 4096, 256 << 10
FILE_BYTES = 16 << 20
SECONDS = 1.5
REPEATS = 3
"""The least median counts: what disturbs a disk makes it slower only."""
EXCHANGES = 4000
TITLE = "The machine"


@dataclass(frozen=True, slots=True)
class Machine:
    """What the model needs to know of it."""

    cores: int
    sync_s: dict[int, float]
    """Writers at once -> seconds of a small write and its sync, each."""
    large_sync_s: dict[int, float]
    """The same with LARGE_BYTES."""
    round_trip_s: float
    """Between two processes, which are woken for it."""

    def bytes_per_s(self, writers: int) -> float:
        """How fast each of so many writers gets large writes to the disk."""
        more_s = max(1e-9, self.large_sync_s[writers] - self.sync_s[writers])
        return (LARGE_BYTES - SMALL_BYTES) / more_s


def syncs(directory: str, number: int, size: int, seconds: float) -> float:
    """Write and sync for so long; returns the median seconds of one."""
    path, taken = Path(directory) / f"writer-{number}", []
    data = os.urandom(size)
    with open(path, "wb", buffering=0) as file:
        file.write(bytes(FILE_BYTES))
        os.fsync(file.fileno())
        until, place = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            began = time.monotonic()
            os.pwrite(file.fileno(), data, place)
            os.fdatasync(file.fileno())
            taken.append(time.monotonic() - began)
            place = (place + size) % (FILE_BYTES - size)
    return statistics.median(taken)


def sync_s(pool: Pool, directory: str, writers: int, size: int, seconds: float) -> float:
    """Return the median of several writers at once, one a process of the pool."""
    tasks = [(directory, number, size, seconds) for number in range(writers)]
    return statistics.median(pool.starmap(syncs, tasks, chunksize=1))


def echo(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connected:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connected.recv(64):
            connected.sendall(data)


def round_trip_s(exchanges: int) -> float:
    """Return the median seconds of a byte there and back."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        other = get_context("spawn").Process(target=echo, args=(listening.getsockname()[1],))
        other.start()
        connected, _ = listening.accept()
        with connected:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            taken = []
            for _ in range(exchanges):
                began = time.monotonic()
                connected.sendall(b"x")
                connected.recv(64)
                taken.append(time.monotonic() - began)
        other.join()
    return statistics.median(taken)


def probe(parent: Path | None = None, seconds: float = SECONDS) -> Machine:
    """Measure; takes six times `seconds` and several more. `parent`: on the disk that is meant."""
    least = {
        (size, writers): math.inf for size in (SMALL_BYTES, LARGE_BYTES) for writers in WRITERS
    }
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as directory,
        get_context("spawn").Pool(max(WRITERS)) as pool,
    ):
        for _ in range(REPEATS):
            for size, writers in least:
                found = sync_s(pool, directory, writers, size, seconds / REPEATS)
                least[size, writers] = min(least[size, writers], found)
    small, large = (
        {writers: least[size, writers] for writers in WRITERS}
        for size in (SMALL_BYTES, LARGE_BYTES)
    )
    return Machine(
        len(os.sched_getaffinity(0)), small, large, round_trip_s(max(1, int(EXCHANGES * seconds)))
    )


def table(machine: Machine) -> str:
    lines = ["| what | |", "|---|---|", f"| cores | {machine.cores} |"]
    for size, found in ((SMALL_BYTES, machine.sync_s), (LARGE_BYTES, machine.large_sync_s)):
        for writers, seconds in found.items():
            one = f"write and sync of {size:,} B, {writers} at once"
            lines.append(f"| {one} | {seconds * 1e3:.3f} ms |")
    lines.append(f"| a byte there and back, two processes | {machine.round_trip_s * 1e3:.3f} ms |")
    return "\n".join([*lines, ""])


def read_table(text: str) -> Machine:
    """Read what `table` wrote. ValueError where something is missing."""
    cores_found = re.search(r"^\| cores \| (\d+) \|", text, re.M)
    trip = re.search(r"^\| a byte there and back[^|]*\| ([\d.]+) ms", text, re.M)
    rows = re.findall(r"^\| write and sync of ([\d,]+) B, (\d+) at once \| ([\d.]+) ms", text, re.M)
    known: dict[int, dict[int, float]] = {SMALL_BYTES: {}, LARGE_BYTES: {}}
    for size, writers, ms in rows:
        known[int(size.replace(",", ""))][int(writers)] = float(ms) / 1e3
    if not cores_found or not trip or not all(known.values()):
        raise ValueError("no table of the machine")
    small, large = known[SMALL_BYTES], known[LARGE_BYTES]
    return Machine(int(cores_found[1]), small, large, float(trip[1]) / 1e3)


if __name__ == "__main__":
    print(table(probe()))
