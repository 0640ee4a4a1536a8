"""A client that writes, retries, and at the end counts what failed and what is missing.

`python -m tests.containers.retrying_client URL,URL…` writes until its standard input ends, then
reads everything back and prints one line of JSON: writes, failed, lost, retries, longest_s.
"""

import asyncio
import json
import sys
import time

from raftkv.client import Client, ClientError
from raftkv.pb.etcd import rpc_pb2 as pb

WORKERS = 4
TRY_TIMEOUT_S = 5.0
GIVE_UP_S = 60.0
"""A write that has not succeeded by then has failed."""
PAUSE_S = 0.01
"""Between two writes of one worker: the load is there to notice gaps, not to fill the machine."""


class RetryingClient:
    """Writers of keys that nobody else writes, each key once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stopping = asyncio.Event()
        self._written: set[bytes] = set()
        self.failed = self.retries = 0
        self.longest_s = 0.0

    async def write(self, worker: int) -> None:
        """Write keys until told to stop."""
        number = 0
        while not self._stopping.is_set():
            number += 1
            await self._write_one(b"load/%d/%d/%06d" % (time.time_ns() // 10**9, worker, number))
            await asyncio.sleep(PAUSE_S)

    async def _write_one(self, key: bytes) -> None:
        began = time.monotonic()
        while True:
            try:
                await self._client.put(key, key)
                self._written.add(key)
                break
            except ClientError:
                self.retries += 1
                if time.monotonic() - began > GIVE_UP_S:
                    self.failed += 1
                    break
                await asyncio.sleep(0.05)
        self.longest_s = max(self.longest_s, time.monotonic() - began)

    async def until_input_ends(self) -> None:
        """Return when standard input is closed."""
        await asyncio.to_thread(sys.stdin.read)
        self._stopping.set()

    async def lost(self) -> int:
        """Count acknowledged keys that are not there."""
        request = pb.RangeRequest(key=b"load/", range_end=b"load0", keys_only=True)
        found = await self._client.range(request)
        return len(self._written - {one.key for one in found.kvs})

    @property
    def writes(self) -> int:
        """How many writes were acknowledged."""
        return len(self._written)


async def main(endpoints: list[str]) -> None:
    """Run the load and print its account."""
    async with Client(endpoints, timeout_s=TRY_TIMEOUT_S) as client:
        load = RetryingClient(client)
        workers = [asyncio.create_task(load.write(worker)) for worker in range(WORKERS)]
        await load.until_input_ends()
        await asyncio.gather(*workers)
        account = {
            "writes": load.writes,
            "failed": load.failed,
            "lost": await load.lost(),
            "retries": load.retries,
            "longest_s": round(load.longest_s, 3),
        }
        print(json.dumps(account))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].split(",")))
