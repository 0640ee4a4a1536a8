"""An ordinary client that measures itself: `python -m bench.limits_probe ENDPOINT SECONDS`.

Four tasks read and write by turns, each at most two hundred times a second; the answer is one JSON
line with the count and the quantiles of both in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from raftkv.client import Client

TASKS = 4
PAUSE_S = 0.005


async def measure(endpoint: str, seconds: float) -> dict[str, list[float]]:
    """Return the latencies of reads and of writes, in seconds."""
    taken: dict[str, list[float]] = {"read": [], "write": []}

    async def one(number: int, until: float) -> None:
        key = b"probe/%d" % number
        async with Client([endpoint], timeout_s=30) as client:
            await client.get(key)
            while time.perf_counter() < until:
                for kind in taken:
                    began = time.perf_counter()
                    if kind == "read":
                        await client.get(key)
                    else:
                        await client.put(key, b"value")
                    taken[kind].append(time.perf_counter() - began)
                    await asyncio.sleep(PAUSE_S)

    until = time.perf_counter() + seconds
    await asyncio.gather(*(one(number, until) for number in range(TASKS)))
    return taken


def quantile_ms(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000, 3)


if __name__ == "__main__":
    found = asyncio.run(measure(sys.argv[1], float(sys.argv[2])))
    print(
        json.dumps(
            {
                kind: {
                    "count": len(values),
                    "p50": quantile_ms(values, 0.5),
                    "p99": quantile_ms(values, 0.99),
                }
                for kind, values in found.items()
            }
        )
    )
