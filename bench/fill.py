"""Fill a store quickly: transactions of as many puts as the server takes, several in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from raftkv.client import Client
from raftkv.pb.etcd import rpc_pb2 as pb

PUTS_PER_TXN = 128
"""The server's --max-txn-ops."""

IN_FLIGHT = 8
VALUE = bytes(range(256))
_SPREAD = 0x9E3779B97F4A7C15
"""Odd, so that keys differ; large, so that they come in no order."""


def key_of(number: int) -> bytes:
    """The key of a number: 16 bytes, in no order."""
    return b"%016x" % (number * _SPREAD % (1 << 64))


async def fill(endpoint: str, keys: int, say: Callable[[str], None]) -> float:
    """Write `keys` different keys with values of 256 bytes; returns the seconds."""
    began = time.monotonic()
    starts = iter(range(0, keys, PUTS_PER_TXN))
    next_word = began + 10
    async with Client([endpoint]) as client:

        async def work() -> None:
            nonlocal next_word
            for start in starts:
                request = pb.TxnRequest()
                for number in range(start, min(start + PUTS_PER_TXN, keys)):
                    put = request.success.add().request_put
                    put.key, put.value = key_of(number), VALUE
                await client.txn(request)
                if time.monotonic() > next_word:
                    next_word = time.monotonic() + 10
                    say(f"  {start:,} of {keys:,} keys")

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return time.monotonic() - began
