"""Recorded clients for one epoch of the fault runner, in a thread and an event loop of their own.

Their clocks and their work go on while the caller breaks members. Values are unique in a run, so
that each change has one possible author.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.history import Operation, Violation, WatchStream
from raftkv.testing.recorded_client import RecordedClient
from raftkv.testing.recorded_watch import RecordedWatch

__all__ = ["EpochRecord", "FaultLoad"]

REQUEST_TIMEOUT_S = 2.0
WRITERS = 6
LEASE_CLIENTS = 3
KEYS = 16
LEASE_TTL_S = 2
LARGE_BYTES = 1 << 20
THINK_S_MAX = 0.03
ERROR_WAIT_S = 0.05
PROGRESS_S_MAX = 30.0
"""How long a healed cluster may take to answer, and a watch to catch up."""
COMPACT_KEEP = 300
"""Revisions that compaction leaves behind what every watch has seen."""


@dataclass(slots=True)
class EpochRecord:
    """What all clients saw."""

    operations: list[Operation] = field(default_factory=list)
    streams: list[WatchStream] = field(default_factory=list)
    end_revision: int = 0
    """The revision at which the epoch was cut: all watches over all keys are there."""
    compacted: int = 0
    """The highest revision that a compaction was asked for."""
    hashes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Member -> (hash, compact revision) at `end_revision`."""


class FaultLoad:
    """`start()`, break things, heal them, then `finish()`."""

    def __init__(
        self, endpoints: Sequence[str], base_revision: int, compacted: int, epoch: int, seed: int
    ) -> None:
        self._endpoints = list(endpoints)
        self._base = base_revision
        self._epoch = epoch
        self._dice = random.Random(f"{seed}/{epoch}")
        self._record = EpochRecord(compacted=compacted)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self._error: BaseException | None = None
        self._watches: list[RecordedWatch] = []
        self._pieces: list[RecordedWatch] = []
        self._clients: list[RecordedClient] = []
        self._highest = base_revision
        self._large = 0
        """How many of the next values are to be large."""

    def start(self) -> None:
        """Begin asking."""
        self._thread.start()

    def flood(self) -> None:
        """Have every writer put a large value next."""
        self._large = WRITERS

    def finish(self) -> EpochRecord:
        """Stop asking, wait until all watches have seen all, and return the record.

        Raises Violation where the cluster makes no progress, and what the load itself raised.
        """
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._record

    def _run(self) -> None:
        try:
            asyncio.run(self._epoch_of_load())
        except BaseException as error:  # handed to `finish`
            self._error = error

    async def _epoch_of_load(self) -> None:
        count = len(self._endpoints)
        self._watches = [
            RecordedWatch(100 + at, at, endpoint, self._base + 1)
            for at, endpoint in enumerate(self._endpoints)
        ]
        watching = [asyncio.create_task(watch.run()) for watch in self._watches]
        self._clients = [
            RecordedClient(number, self._endpoints, REQUEST_TIMEOUT_S)
            for number in range(WRITERS + LEASE_CLIENTS + 1)
        ]
        *workers, last = self._clients
        try:
            async with asyncio.TaskGroup() as group:
                for client in workers[:WRITERS]:
                    group.create_task(self._write(client))
                for client in workers[WRITERS:]:
                    group.create_task(self._hold_leases(client))
                for number in range(200, 200 + count):
                    group.create_task(self._watch_pieces(number))
            await self._read_all(last)
            await self._catch_up()
            await self._hash(last)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            for client in self._clients:
                await client.close()
                self._record.operations += client.operations
            for watch in (*self._watches, *self._pieces):
                self._record.streams += watch.streams

    async def _write(self, client: RecordedClient) -> None:
        """One client's stream of requests about a few keys that all share."""
        number = 0
        while not self._stop.is_set():
            number += 1
            value = f"{self._epoch}.{client.number}.{number}".encode()
            answer = await self._one_request(client, value)
            if answer is None:
                await asyncio.sleep(ERROR_WAIT_S)
                if self._dice.random() < 0.5:
                    client.move()
            else:
                self._highest = max(self._highest, answer.header.revision)
                await asyncio.sleep(self._dice.random() * THINK_S_MAX)
                if self._dice.random() < 0.01:
                    client.move()

    async def _one_request(
        self, client: RecordedClient, value: bytes
    ) -> (
        pb.RangeResponse
        | pb.PutResponse
        | pb.DeleteRangeResponse
        | pb.TxnResponse
        | pb.CompactionResponse
        | None
    ):
        dice, key = self._dice, self._key()
        if self._large:
            self._large -= 1
            return await client.put(pb.PutRequest(key=key, value=value.ljust(LARGE_BYTES)))
        match dice.choices(
            ("put", "get", "range", "delete", "clear", "swap", "pair", "compact"),
            (30, 20, 10, 10, 1, 20, 8, 1),
        )[0]:
            case "put":
                return await client.put(
                    pb.PutRequest(key=key, value=value, prev_kv=dice.random() < 0.5)
                )
            case "get":
                return await client.range(
                    pb.RangeRequest(key=key, serializable=dice.random() < 0.2)
                )
            case "range":
                return await client.range(self._range())
            case "delete":
                return await client.delete(
                    pb.DeleteRangeRequest(key=key, prev_kv=dice.random() < 0.5)
                )
            case "clear":
                return await client.delete(pb.DeleteRangeRequest(key=key, range_end=b"key/99"))
            case "swap":
                return await self._swap(client, key, value)
            case "pair":
                return await client.txn(self._pair(key, value))
            case _:
                return await self._compact(client)

    def _key(self) -> bytes:
        return b"key/%02d" % self._dice.randrange(KEYS)

    def _range(self) -> pb.RangeRequest:
        dice = self._dice
        request = pb.RangeRequest(key=b"\0", range_end=b"\0")
        match dice.randrange(5):
            case 0:
                request.limit = 1 + dice.randrange(KEYS)
            case 1:
                request.count_only = True
            case 2:
                request.keys_only = True
            case 3:
                oldest = max(self._base, self._record.compacted) + 1
                if oldest < self._highest:
                    request.revision = dice.randint(oldest, self._highest)
            case _:
                request.serializable = dice.random() < 0.3
        return request

    async def _swap(
        self, client: RecordedClient, key: bytes, value: bytes
    ) -> pb.TxnResponse | None:
        """Read, then write if nobody wrote since, as most users of transactions do."""
        read = await client.range(pb.RangeRequest(key=key))
        if read is None:
            return None
        request = pb.TxnRequest()
        compare = request.compare.add(key=key, target=pb.Compare.MOD, result=pb.Compare.EQUAL)
        compare.mod_revision = read.kvs[0].mod_revision if read.kvs else 0
        request.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=value))
        request.failure.add().request_range.CopyFrom(pb.RangeRequest(key=key))
        return await client.txn(request)

    def _pair(self, key: bytes, value: bytes) -> pb.TxnRequest:
        """Write two keys and read one, in one revision."""
        request = pb.TxnRequest()
        request.compare.add(
            key=key, target=pb.Compare.VERSION, result=pb.Compare.GREATER, version=0
        )
        other = key + b"/pair"
        request.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=value))
        request.success.add().request_put.CopyFrom(
            pb.PutRequest(key=other, value=value, prev_kv=True)
        )
        request.success.add().request_range.CopyFrom(pb.RangeRequest(key=key))
        request.failure.add().request_delete_range.CopyFrom(pb.DeleteRangeRequest(key=other))
        return request

    async def _compact(self, client: RecordedClient) -> pb.CompactionResponse | None:
        seen = min(watch.next_revision for watch in self._watches)
        revision = seen - self._dice.randint(COMPACT_KEEP // 3, COMPACT_KEEP)
        if revision <= self._record.compacted:
            return None
        self._record.compacted = revision
        return await client.compact(revision)

    async def _hold_leases(self, client: RecordedClient) -> None:
        """Grant a lease, put keys, renew for a while, then revoke it or let it end."""
        number = 0
        while not self._stop.is_set():
            granted = await client.grant(LEASE_TTL_S)
            if granted is None:
                client.move()
                await asyncio.sleep(ERROR_WAIT_S)
                continue
            for _ in range(self._dice.randint(1, 3)):
                number += 1
                key = f"lease/{client.number}/{number % 7}".encode()
                value = f"{self._epoch}.{client.number}.{number}".encode()
                await client.put(pb.PutRequest(key=key, value=value, lease=granted.ID))
            for _ in range(self._dice.randrange(4)):
                await asyncio.sleep(LEASE_TTL_S * self._dice.uniform(0.1, 0.5))
                if await client.keep_alive(granted.ID) is None:
                    client.move()
            if self._dice.random() < 0.3:
                await client.revoke(granted.ID)

    async def _watch_pieces(self, number: int) -> None:
        """Watch some keys from some past revision for a short while, again and again."""
        dice, at = self._dice, number % len(self._endpoints)
        watch = RecordedWatch(number, at, self._endpoints[at], 0)
        self._pieces.append(watch)
        while not self._stop.is_set():
            back = dice.randrange(2 * COMPACT_KEEP)
            request = pb.WatchCreateRequest(
                key=self._key(),
                range_end=dice.choice((b"", b"key/99", b"\0")),
                start_revision=max(self._base + 1, self._highest - back),
                prev_kv=dice.random() < 0.5,
            )
            if dice.random() < 0.3:
                request.filters.append(dice.choice((0, 1)))  # type: ignore[arg-type]
            watching = asyncio.create_task(watch.watch_once(request))
            await asyncio.wait([watching], timeout=dice.uniform(0.2, 3))
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await asyncio.sleep(ERROR_WAIT_S)
        await watch.close()

    async def _read_all(self, client: RecordedClient) -> None:
        """Read everything at each member; a healed cluster must answer in time."""
        deadline = time.monotonic() + PROGRESS_S_MAX
        for client.at in range(len(self._endpoints)):
            while True:
                request = pb.RangeRequest(key=b"\0", range_end=b"\0")
                answer = await client.range(request)
                if answer is not None:
                    self._record.end_revision = answer.header.revision
                    break
                if time.monotonic() > deadline:
                    raise Violation(
                        "a healed cluster serves",
                        f"member {client.at} answers nothing in {PROGRESS_S_MAX} s",
                        client.operations[-3:],
                    )

    async def _catch_up(self) -> None:
        deadline = time.monotonic() + PROGRESS_S_MAX
        for at, watch in enumerate(self._watches):
            while watch.next_revision <= self._record.end_revision:
                if time.monotonic() > deadline:
                    raise Violation(
                        "a watch delivers in time",
                        f"member {at}: next {watch.next_revision}, store is at"
                        f" {self._record.end_revision}",
                    )
                await asyncio.sleep(ERROR_WAIT_S)

    async def _hash(self, client: RecordedClient) -> None:
        """Ask every member for its hash, until all are at the same compaction."""
        deadline = time.monotonic() + PROGRESS_S_MAX
        while time.monotonic() < deadline:
            for client.at in range(len(self._endpoints)):
                answer = await client.client.hash_kv(self._record.end_revision)
                self._record.hashes[client.at] = (answer.hash, answer.compact_revision)
            if len({compacted for _, compacted in self._record.hashes.values()}) == 1:
                return
            await asyncio.sleep(ERROR_WAIT_S)
