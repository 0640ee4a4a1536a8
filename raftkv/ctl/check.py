"""check perf and check datascale: does a cluster carry a load that is stated beforehand."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import statistics
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from raftkv.client import Client, ClientError, prefix_range_end
from raftkv.ctl import output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments, told_already
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.kv import raw
from raftkv.ctl.progress import count_bar

KEY_BYTES = 256
VALUE_BYTES = 1024
THROUGHPUT_FRACTION = 0.9
"""Part of the rate that must be reached."""
SLOWEST_S = 0.5
DEVIATION_S = 0.1
LATENCIES_MAX = 2_000_000
METRIC = b"process_resident_memory_bytes "


@dataclass(frozen=True, slots=True)
class Load:
    """Puts a second with so many clients, for `check perf`; keys in all, for `check datascale`."""

    rate: int
    clients: int
    keys: int


LOADS = {
    "s": Load(150, 50, 10_000),
    "m": Load(1_000, 200, 100_000),
    "l": Load(8_000, 500, 1_000_000),
    "xl": Load(15_000, 1_000, 3_000_000),
}
NAMES = {"small": "s", "medium": "m", "large": "l", "xlarge": "xl"}


@dataclass(slots=True)
class Outcome:
    """What became of the puts."""

    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0
    first_error: str = ""
    took_s: float = 0.0


def load_of(line: Line) -> tuple[str, Load]:
    """Read --load. Raises CommandError with etcdctl's text."""
    if line.arguments:
        raise bad_arguments("check takes no arguments")
    text = line.flags.text("load")
    name = NAMES.get(text.lower(), text.lower())
    if name not in LOADS:
        raise CommandError(
            ExitCode.BAD_FEATURE, f"unknown load option {text}", "One of s, m, l, xl."
        )
    return name, LOADS[name]


async def put_many(
    client: Client,
    prefix: bytes,
    load: Load,
    goes_on: Callable[[int, float], bool],
    due_s: Callable[[int], float],
    advance: Callable[[int, float], object],
) -> Outcome:
    """Put keys with `load.clients` clients while `goes_on(number, elapsed seconds)`.

    Put `n` begins `due_s(n)` seconds after the start, or when a client is free.
    """
    loop = asyncio.get_running_loop()
    outcome, numbers, start = Outcome(), itertools.count(), loop.time()
    value = os.urandom(VALUE_BYTES)

    async def work() -> None:
        for number in numbers:
            wait_s = start + due_s(number) - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            began = loop.time()
            if not goes_on(number, began - start) or len(outcome.latencies_s) >= LATENCIES_MAX:
                return
            try:
                await client.put(prefix + b"%0*d" % (KEY_BYTES - len(prefix), number), value)
            except ClientError as error:
                outcome.errors += 1
                outcome.first_error = outcome.first_error or error.message
                continue
            outcome.latencies_s.append(loop.time() - began)
            advance(len(outcome.latencies_s), loop.time() - start)

    async with asyncio.TaskGroup() as workers:
        for _ in range(load.clients):
            workers.create_task(work())
    outcome.took_s = loop.time() - start
    return outcome


@asynccontextmanager
async def scratch_prefix(client: Client, line: Line) -> AsyncIterator[bytes]:
    """Give a prefix without keys; delete what is below it at the end, compact where asked to."""
    text = line.flags.text("prefix")
    prefix = raw(text)
    end = prefix_range_end(prefix)
    if (await client.get(prefix, end, limit=1)).kvs:
        raise CommandError(
            ExitCode.INVALID_INPUT,
            f"prefix {text!r} has keys. Delete with `raftctl del --prefix {text}` first",
        )
    try:
        yield prefix
    finally:
        deleted = await client.delete(prefix, end)
        if line.flags.switch("auto-compact"):
            await client.compact(deleted.header.revision, physical=True)
            output.lines([f"Compacted with revision {deleted.header.revision}"])
        if line.flags.switch("auto-defrag"):
            for at in range(len(client.endpoints)):
                await client.defragment(at)
            output.lines(["Defragmented"])


async def perf(context: Context, line: Line) -> None:
    _, load = load_of(line)
    seconds = line.flags.seconds("duration")
    async with context.client() as client, scratch_prefix(client, line) as prefix:
        with count_bar("checking", int(seconds)) as advance:
            outcome = await put_many(
                client,
                prefix,
                load,
                lambda _, elapsed_s: elapsed_s < seconds,
                lambda number: number / load.rate,
                lambda _, elapsed_s: advance(int(elapsed_s)),
            )
    verdicts = judge(outcome, load)
    output.lines(text for _, text in verdicts)
    passed = all(good for good, _ in verdicts)
    output.lines(["PASS" if passed else "FAIL"])
    if not passed:
        raise told_already()


def judge(outcome: Outcome, load: Load) -> list[tuple[bool, str]]:
    """Compare with etcdctl's bounds; each verdict with its line."""
    latencies = outcome.latencies_s or [math.inf]
    rate = round(len(outcome.latencies_s) / max(outcome.took_s, 1e-9))
    slowest = max(latencies)
    deviation = statistics.pstdev(latencies) if len(outcome.latencies_s) > 1 else 0.0
    found = [
        (True, f"PASS: Throughput is {rate} writes/s")
        if rate >= THROUGHPUT_FRACTION * load.rate
        else (False, f"FAIL: Throughput too low: {rate} writes/s"),
        (True, f"PASS: Slowest request took {slowest:f}s")
        if slowest < SLOWEST_S
        else (False, f"FAIL: Slowest request took too long: {slowest:f}s"),
        (True, f"PASS: Stddev is {deviation:f}s")
        if deviation < DEVIATION_S
        else (False, f"FAIL: Stddev too high: {deviation:f}s"),
    ]
    if outcome.errors:
        text = f"FAIL: {outcome.errors} errors, the first one: {outcome.first_error}"
        found.insert(0, (False, text))
    return found


async def datascale(context: Context, line: Line) -> None:
    name, load = load_of(line)
    keys = line.flags.number("keys") or load.keys
    endpoint = context.endpoints[0]
    async with context.client((endpoint,)) as client, scratch_prefix(client, line) as prefix:
        before = await asyncio.to_thread(_resident_bytes, endpoint)
        output.lines(
            [
                f"Start data scale check for work load [{keys} key-value pairs, "
                f"{VALUE_BYTES} bytes per key-value, {load.clients} concurrent clients]."
            ]
        )
        with count_bar(f"load {name}", keys) as advance:
            outcome = await put_many(
                client,
                prefix,
                load,
                lambda number, _: number < keys,
                lambda _: 0.0,
                lambda done, _: advance(done),
            )
        after = await asyncio.to_thread(_resident_bytes, endpoint)
    if outcome.errors:
        print(f"FAIL: {outcome.errors} errors: {outcome.first_error}", file=sys.stderr)
        raise told_already()
    output.lines(
        [f"PASS: Approximate system memory used : {max(0, after - before) / (1 << 20):.2f} MB."]
    )


def _resident_bytes(endpoint: str) -> int:
    """Return what a member's process holds, by its metrics. Raises CommandError."""
    url = endpoint if "://" in endpoint else f"http://{endpoint}"
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            text: bytes = answer.read()
    except (OSError, urllib.error.URLError) as error:
        raise CommandError(ExitCode.ERROR, f"{url}/metrics: {error}") from error
    for row in text.splitlines():
        if row.startswith(METRIC):
            return int(float(row.removeprefix(METRIC)))
    raise CommandError(ExitCode.ERROR, f"{url}/metrics does not tell the process's memory")


def _flags(prefix: str) -> tuple[Flag, ...]:
    return (
        Flag("load", "s", "s(mall), m(edium), l(arge) or xl"),
        Flag("prefix", prefix, "keys are written below it, and deleted at the end"),
        Flag("auto-compact", False, "compact the history at the end"),
        Flag("auto-defrag", False, "defragment at the end"),
    )


COMMANDS = (
    Command(
        ("check", "perf"),
        "",
        "Write at a stated rate for a minute, and judge the cluster by it",
        perf,
        "Loads: s 150 puts/s by 50 clients, m 1000 by 200, l 8000 by 500, xl 15000 by 1000; keys\n"
        "of 256 bytes, values of 1 KiB. Passes with 90 % of the rate, no put above 0.5 s and a\n"
        "standard deviation below 0.1 s. One Python client may itself be too slow for l and xl.",
        (
            *_flags("/etcdctl-check-perf/"),
            Flag("duration", 60.0, "how long to write"),
        ),
    ),
    Command(
        ("check", "datascale"),
        "",
        "Write many keys and tell how the member's memory grew",
        datascale,
        "Loads: s 10000 keys, m 100000, l 1000000, xl 3000000, with values of 1 KiB, at the first\n"
        "endpoint.",
        (
            *_flags("/etcdctl-check-datascale/"),
            Flag("keys", 0, "so many keys instead"),
        ),
    ),
)
