"""`python -m bench.restart --keys 5000000`: a member with many keys starts again, beside one of 1.

Each is stopped and started several times, by SIGTERM and by SIGKILL. Printed is the time from the
start of the process to its first answer to a linearizable read and to a put, and its memory then.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.fill import VALUE, fill, key_of
from raftkv.client import Client
from raftkv.testing.process_cluster import ProcessCluster

RETRY_S = 0.01
ATTEMPT_S = 1.0
TIMEOUT_S = 120.0
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the process."""

    read_s: float
    put_s: float
    resident_bytes: int


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def first_answers(endpoint: str, key: bytes, began: float) -> tuple[float, float]:
    """Return after how many seconds a read and a put of a key are answered."""
    while True:
        try:
            async with Client([endpoint], timeout_s=ATTEMPT_S) as client:
                found = await client.get(key)
                read_s = time.monotonic() - began
                if found is None:
                    raise RuntimeError(f"{key!r} is lost")
                await client.put(key, VALUE)
                return read_s, time.monotonic() - began
        except RuntimeError:
            raise
        except Exception:
            if time.monotonic() > began + TIMEOUT_S:
                raise
            await asyncio.sleep(RETRY_S)


def measure(keys: int, kill: bool, directory: Path) -> tuple[list[Start], int]:
    """Fill one member and start it again ROUNDS times; returns that, and the state's bytes."""
    starts = []
    with ProcessCluster(1, directory, ["--quota-backend-bytes=-1"]) as cluster:
        cluster.wait_ready()
        endpoint = cluster.endpoints[0]
        asyncio.run(fill(endpoint, keys, lambda text: print(text, file=sys.stderr, flush=True)))
        for round_ in range(ROUNDS):
            (cluster.kill if kill else cluster.terminate)(0)
            began = time.monotonic()
            cluster.start(0)
            key = key_of((round_ * 7919) % keys)
            read_s, put_s = asyncio.run(first_answers(endpoint, key, began))
            starts.append(Start(read_s, put_s, resident_bytes(cluster.pid(0))))
        size = (directory / cluster.names[0] / "member" / "state" / "data.mdb").stat().st_size
    return starts, size


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.restart", description=__doc__)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--directory", type=Path, help="where data goes; default: temporary")
    options = parser.parse_args()
    print("| keys | ended by | first read | first put | resident | state on disk |")
    print("|---|---|---|---|---|---|")
    for keys in (1, options.keys):
        for kill in (False, True):
            with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as directory:
                starts, size = measure(keys, kill, Path(directory))
            print(
                f"| {keys:,} | {'SIGKILL' if kill else 'SIGTERM'}"
                f" | {statistics.median(one.read_s for one in starts):.2f} s"
                f" | {statistics.median(one.put_s for one in starts):.2f} s"
                f" | {max(one.resident_bytes for one in starts) / 1e6:.0f} MB"
                f" | {size / 1e6:,.0f} MB |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
