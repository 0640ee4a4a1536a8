"""Copying keys from one cluster to another, and following what changes, as long as it is wanted.

First the *base*: all keys as of one revision, page by page. Then the *tail*: a watch from the next
revision on, each revision as one transaction, or several together where they touch different keys.
Every write may be repeated, so a copy that was stopped goes on at the place that was noted last.

Revisions, versions and leases are the destination's own: to keep them, restore a snapshot.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import grpc

from raftkv.client import Client, UnavailableError, Watch, prefix_range_end
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as pb

__all__ = ["Keys", "Mirror", "Place"]

PAGE_BYTES = 4 << 20
"""Of keys and values in one page of the base, about."""
PAGE_KEYS, PAGE_KEYS_MAX = 128, 16384
BATCH_BYTES_MAX = 1 << 20
"""Of one transaction; etcd takes 1.5 MiB, where nobody told it otherwise."""
WRITES_AT_ONCE = 8
RETRY_S = 0.2
RETRIES_MAX = 150
"""Half a minute without a member of the destination that serves ends the copy."""
PROGRESS_INTERVAL_S, IDLE_PROGRESS_INTERVAL_S = 0.25, 10.0
"""How often the source is asked how far its watch has come: where an end is waited for, and else,
so that a copy of keys that nobody changes can go on after the source's next compaction."""
WRITE_OVERHEAD_BYTES = 32
FIRST_IN_ORDER = {(3, 4): (3, 4, 25), (3, 5): (3, 5, 8)}
"""By minor version, the first etcd whose reports of progress keep their place among events."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Which keys are copied, and what they are called at the destination."""

    prefix: bytes = b""
    to_prefix: bytes = b""

    @property
    def first(self) -> bytes:
        """Where their range begins."""
        return self.prefix or b"\0"

    @property
    def range_end(self) -> bytes:
        """Where their range ends."""
        return prefix_range_end(self.prefix) if self.prefix else b"\0"

    def renamed(self, key: bytes) -> bytes:
        """Return the key's name at the destination."""
        return self.to_prefix + key[len(self.prefix) :]


@dataclass(frozen=True, slots=True)
class Place:
    """How far a copy has come."""

    source_cluster_id: int = 0
    """0: nothing is known yet."""
    revision: int = 0
    """Of the source: the base's, then the last one that is at the destination. 0: not begun."""
    next_key: bytes | None = b""
    """Where the base goes on; None: it is complete."""

    def encode(self) -> str:
        """Return the text that `decode` reads."""
        next_key = None if self.next_key is None else self.next_key.hex()
        return json.dumps({**asdict(self), "next_key": next_key})

    @classmethod
    def decode(cls, text: str) -> Place:
        """Read what `encode` wrote. Raises ValueError."""
        try:
            fields = json.loads(text)
            next_key = fields["next_key"]
            key = None if next_key is None else bytes.fromhex(next_key)
            return cls(int(fields["source_cluster_id"]), int(fields["revision"]), key)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no place of a copy: {error}") from error


class Mirror:
    """One copy under way. `moved` is called when what was written so far need not be again."""

    def __init__(
        self,
        source: Client,
        destination: Client,
        keys: Keys,
        place: Place,
        *,
        txn_ops_max: int,
        moved: Callable[[Mirror], object] = lambda _mirror: None,
    ) -> None:
        self.place = place
        self.copied = 0
        """Writes and deletions done at the destination."""
        self.total_keys = 0
        """Of the base that is left, as the source counted; 0 where it was complete before."""
        self.source_revision = 0
        """The latest that the source told: what `place.revision` is behind."""
        self._source = source
        self._destination = destination
        self._keys = keys
        self._txn_ops_max = txn_ops_max
        self._moved = moved
        self._reports_count = False
        """Whether the source's reports of progress are to be believed."""

    async def run(self, *, until_level: bool) -> None:
        """Copy the base, if it is not complete, then follow the source.

        Returns only with `until_level`: when the destination has all that the source had when the
        base was complete. Raises ClientError; CompactedError where the source has dropped
        revisions that were not copied yet, ValueError where it is another cluster than before.
        """
        await self._check_source()
        if self.place.next_key is not None:
            await self._copy_base()
        target = await self._current_revision() if until_level else 0
        await self._follow(target)

    async def _check_source(self) -> None:
        status = await self._source.status()
        known = self.place.source_cluster_id
        if known and known != status.header.cluster_id:
            raise ValueError(
                f"the copy was begun from cluster {known:x}, but the source is cluster"
                f" {status.header.cluster_id:x}"
            )
        self.place = replace(self.place, source_cluster_id=status.header.cluster_id)
        self._reports_count = _reports_in_order(status.version)

    async def _current_revision(self) -> int:
        answer = await self._source.range(pb.RangeRequest(key=self._keys.first, count_only=True))
        return answer.header.revision

    # The base

    async def _copy_base(self) -> None:
        next_key = self.place.next_key or self._keys.first
        limit = PAGE_KEYS
        page = await self._page(next_key, limit)
        if not self.place.revision:
            self.place = replace(self.place, revision=page.header.revision, next_key=next_key)
        self.total_keys = page.count
        while True:
            after = page.kvs[-1].key + b"\0" if page.more else None
            limit = _next_limit(page, limit)
            ahead = None if after is None else asyncio.create_task(self._page(after, limit))
            try:
                await self._write_page(page.kvs)
            except BaseException:
                if ahead is not None:
                    ahead.cancel()
                raise
            self.place = replace(self.place, next_key=after)
            self._move(0, page.header.revision)
            if ahead is None:
                return
            page = await ahead

    async def _page(self, key: bytes, limit: int) -> pb.RangeResponse:
        return await self._source.get(
            key, self._keys.range_end, revision=self.place.revision, limit=limit
        )

    async def _write_page(self, kvs: Sequence[kv_pb2.KeyValue]) -> None:
        """Write many keys at once: they are different ones, so the order is all the same."""
        batches: list[_Batch] = [_Batch(self._txn_ops_max)]
        for kv in kvs:
            if not batches[-1].has_room(kv):
                batches.append(_Batch(self._txn_ops_max))
            batches[-1].put(self._keys.renamed(kv.key), kv.value)
        places = asyncio.Semaphore(WRITES_AT_ONCE)

        async def write(batch: _Batch) -> None:
            async with places:
                await self._write(batch)

        try:
            async with asyncio.TaskGroup() as group:
                for batch in batches:
                    group.create_task(write(batch))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    # The tail

    async def _follow(self, target: int) -> None:
        """Watch on from the place; until it is at `target`, or for ever where that is 0."""
        if target and self.place.revision >= target:
            return
        keys = self._keys
        if target and not self._reports_count:
            # Every revision has an event then, so the target's is sure to come.
            keys = Keys()
        watch = self._source.watch(
            keys.first, keys.range_end, start_revision=self.place.revision + 1
        )
        async with watch:
            interval_s = PROGRESS_INTERVAL_S if target else IDLE_PROGRESS_INTERVAL_S
            asking = asyncio.create_task(_ask_for_progress(watch, interval_s))
            try:
                async for response in watch:
                    if response.events:
                        await self._take(response)
                    elif self._reports_count:
                        self._move(response.header.revision, response.header.revision)
                    if target and self.place.revision >= target:
                        return
            finally:
                asking.cancel()

    async def _take(self, response: pb.WatchResponse) -> None:
        """Write the events of one response, then note the last revision, which it completes."""
        batch = _Batch(self._txn_ops_max)
        for event in response.events:
            if not event.kv.key.startswith(self._keys.prefix):
                continue
            key = self._keys.renamed(event.kv.key)
            if not batch.has_room(event.kv) or key in batch.keys:
                await self._write(batch)
                # The revision of this event may be half in the batch that was written.
                self._move(event.kv.mod_revision - 1, response.header.revision)
                batch = _Batch(self._txn_ops_max)
            if event.type == kv_pb2.Event.DELETE:
                batch.delete(key)
            else:
                batch.put(key, event.kv.value)
        await self._write(batch)
        self._move(response.events[-1].kv.mod_revision, response.header.revision)

    def _move(self, revision: int, source_revision: int) -> None:
        self.place = replace(self.place, revision=max(self.place.revision, revision))
        self.source_revision = max(self.source_revision, source_revision)
        self._moved(self)

    async def _write(self, batch: _Batch) -> None:
        """Carry a batch out; once more where it may not have been, as that changes nothing."""
        if not batch.keys:
            return
        for attempt in range(RETRIES_MAX + 1):
            try:
                await batch.send(self._destination)
                self.copied += len(batch.keys)
                return
            except UnavailableError:
                if attempt == RETRIES_MAX:
                    raise
            await asyncio.sleep(RETRY_S)


class _Batch:
    """Writes to different keys, to be carried out in one transaction."""

    def __init__(self, ops_max: int) -> None:
        self.keys: set[bytes] = set()
        self._ops: list[pb.RequestOp] = []
        self._bytes = 0
        self._ops_max = ops_max

    def has_room(self, kv: kv_pb2.KeyValue) -> bool:
        """Tell whether a write of this key may come in; any one write may come in first."""
        size = len(kv.key) + len(kv.value) + WRITE_OVERHEAD_BYTES
        return not self._ops or (
            len(self._ops) < self._ops_max and self._bytes + size <= BATCH_BYTES_MAX
        )

    def put(self, key: bytes, value: bytes) -> None:
        self._add(key, pb.RequestOp(request_put=pb.PutRequest(key=key, value=value)), len(value))

    def delete(self, key: bytes) -> None:
        self._add(key, pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key)), 0)

    def _add(self, key: bytes, op: pb.RequestOp, value_size: int) -> None:
        self.keys.add(key)
        self._ops.append(op)
        self._bytes += len(key) + value_size + WRITE_OVERHEAD_BYTES

    async def send(self, client: Client) -> None:
        """A lone write goes as it came: the largest that the source took has room then, too."""
        first = self._ops[0]
        if len(self._ops) > 1:
            await client.txn(pb.TxnRequest(success=self._ops))
        elif first.HasField("request_put"):
            await client.put(first.request_put.key, first.request_put.value)
        else:
            await client.delete(first.request_delete_range.key)


def _next_limit(page: pb.RangeResponse, limit: int) -> int:
    """Choose how many keys to ask for so that a page has about PAGE_BYTES."""
    size = page.ByteSize()
    if size > 2 * PAGE_BYTES:
        return max(1, limit // 2)
    if size < PAGE_BYTES // 2:
        return min(PAGE_KEYS_MAX, limit * 2)
    return limit


def _reports_in_order(version: str) -> bool:
    """Tell whether an etcd reports only progress whose events it has sent (etcd #15220).

    Before 3.4.25 and 3.5.8 reports overtake events; what goes by them loses some.
    """
    try:
        major, minor, patch = (int(part) for part in version.split("-")[0].split("."))
    except ValueError:
        return False
    return (major, minor, patch) >= FIRST_IN_ORDER.get((major, minor), (3, 6, 0))


async def _ask_for_progress(watch: Watch, interval_s: float) -> None:
    """Where nothing happens to the keys, only the source's reports tell how far it is."""
    while True:
        await asyncio.sleep(interval_s)
        # A watch that is just finding another member has no stream to ask on.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await watch.request_progress()
