"""What strains a member, one process a case: `python -m bench.limits_load CASE ENDPOINT SCALE`.

Prints `ready` once the strain is on, and keeps it on until it is terminated.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

from bench.raw_client import END_STREAM, PREFACE, RawClient, frame
from raftkv.client import Client
from raftkv.pb.etcd import rpc_pb2 as pb

PREFIX = b"strain/"
VALUE_BYTES_MAX = 1536 * 1024 - 512
MIB = 1 << 20
SLOW_BYTES_PER_S = 20 * MIB
GARBAGE_AT_ONCE = 32


def ready() -> None:
    print("ready", flush=True)


async def forever() -> None:
    await asyncio.Event().wait()


def watch_request() -> bytes:
    create = pb.WatchCreateRequest(key=PREFIX, range_end=b"strain0")
    return pb.WatchRequest(create_request=create).SerializeToString()


async def writer(endpoint: str, _scale: float) -> None:
    """Write 32 KiB a hundred times a second where the slow watcher watches."""
    loop = asyncio.get_running_loop()
    async with Client([endpoint]) as client:
        ready()
        due = loop.time()
        number = 0
        while True:
            await client.put(PREFIX + b"%d" % (number % 100), bytes(32 << 10))
            number += 1
            due += 0.01
            await asyncio.sleep(max(0.0, due - loop.time()))


async def slow_watcher(endpoint: str, _scale: float) -> None:
    """Watch what `writer` writes, and read nothing any more once the watch is there."""
    async with RawClient(endpoint) as client:
        client.call("/etcdserverpb.Watch/Watch", watch_request(), end=False)
        await client.answered(1)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        ready()
        await forever()


async def idle_watchers(endpoint: str, scale: float) -> None:
    """Open 10,000 watches, each on a stream of its own, a hundred a connection."""
    request = pb.WatchRequest(
        create_request=pb.WatchCreateRequest(key=b"idle/", range_end=b"idle0")
    ).SerializeToString()
    async with AsyncExitStack() as stack:
        for _ in range(max(1, int(100 * scale))):
            client = await stack.enter_async_context(RawClient(endpoint))
            for _ in range(100):
                client.call("/etcdserverpb.Watch/Watch", request, end=False)
            await client.answered(100)
        ready()
        await forever()


async def large_values(endpoint: str, _scale: float) -> None:
    """Write values as large as requests may be, five a second."""
    loop = asyncio.get_running_loop()
    async with Client([endpoint]) as client:
        ready()
        while True:
            began = loop.time()
            await client.put(PREFIX + b"large", bytes(VALUE_BYTES_MAX))
            await asyncio.sleep(max(0.0, 0.2 - (loop.time() - began)))


async def fill(endpoint: str, scale: float) -> None:
    """Write 1 GiB in values of 1 MiB, then end."""
    async with Client([endpoint], timeout_s=60) as client:
        for number in range(max(1, int(1024 * scale))):
            await client.put(b"range/%06d" % number, random.Random(number).randbytes(MIB))
    ready()


async def slow_range(endpoint: str, _scale: float) -> None:
    """Ask for everything that `fill` wrote and read the answer slowly; again and again."""
    request = pb.RangeRequest(key=b"range/", range_end=b"range0").SerializeToString()
    loop = asyncio.get_running_loop()
    async with RawClient(endpoint) as client:
        while True:
            first = client.received_bytes
            client.call("/etcdserverpb.KV/Range", request)
            await client.receive()
            ready()
            started = loop.time()
            flags = 0
            while not flags & END_STREAM:
                _, flags, _, _ = await client.receive()
                due = started + (client.received_bytes - first) / SLOW_BYTES_PER_S
                await asyncio.sleep(max(0.0, due - loop.time()))


async def connections(endpoint: str, scale: float) -> None:
    """Open 5,000 connections at once, use each one time, and keep them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = pb.RangeRequest(key=b"x", serializable=True).SerializeToString()
    gate = asyncio.Semaphore(256)
    async with AsyncExitStack() as stack:

        async def one() -> None:
            async with gate:
                client = await stack.enter_async_context(RawClient(endpoint))
                client.call("/etcdserverpb.KV/Range", request)
                await client.answered(1)

        print("begun", flush=True)
        await asyncio.gather(*(one() for _ in range(max(1, int(5000 * scale)))))
        ready()
        await forever()


async def garbage(endpoint: str, _scale: float) -> None:
    """Connect, send what is no request, and begin again when the member hangs up; 32 at once."""
    chance = random.Random(1)
    host, _, port = endpoint.rpartition(":")
    settings = PREFACE + frame(4, 0, 0)
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: chance.randbytes(200),
        lambda: settings + frame(0, 0, 0, b"x"),
        lambda: settings + frame(1, 4, 2, b"\x82"),
        lambda: settings + frame(1, 4, 1, chance.randbytes(40)),
        lambda: settings + frame(9, 4, 1, b"\x82"),
        lambda: PREFACE + chance.randbytes(500),
        lambda: settings + frame(6, 0, 0, b"12345678") * 2000,
    )

    async def one() -> None:
        while True:
            with suppress(OSError):
                reader, to = await asyncio.open_connection(host, int(port))
                to.write(chance.choice(kinds)())
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(), 2)
                to.transport.abort()

    tasks = [asyncio.create_task(one()) for _ in range(GARBAGE_AT_ONCE)]
    ready()
    await asyncio.gather(*tasks)


LOADS: dict[str, Callable[[str, float], Awaitable[None]]] = {
    load.__name__: load
    for load in (
        writer,
        slow_watcher,
        idle_watchers,
        large_values,
        fill,
        slow_range,
        connections,
        garbage,
    )
}

if __name__ == "__main__":
    # A client elsewhere takes no processor from the member, nor from who measures it; this one
    # takes only what both leave.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    asyncio.run(LOADS[sys.argv[1]](sys.argv[2], float(sys.argv[3])))  # type: ignore[arg-type]
