"""Objects in the etcd v3 API: one key an object, guarded by its mod revision.

An object is stored as JSON without `metadata.resourceVersion`: the resource version *is* the key's
mod revision, put into the object when it is read. Every write is a transaction that compares that
revision, so two writers never overwrite each other unseen. A list's resource version is the
revision of the store when it answered, not the newest among its items.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from orchestrator.api.json_object import JsonObject
from orchestrator.apiserver.stored import Conversion, Stored, decode, encode, with_revision
from raftkv.client import Client, prefix_range_end
from raftkv.pb.etcd import kv_pb2, rpc_pb2

Change: TypeAlias = Callable[[JsonObject], Awaitable[JsonObject | None]]
ClaimsOf: TypeAlias = Callable[[JsonObject, JsonObject], "Claims | None"]

UPDATE_ATTEMPTS_MAX = 100
"""Times an update is computed again because someone else wrote first; then Contention is raised."""


class KeyExists(Exception):
    """There is an object at the key already."""


class KeyMissing(Exception):
    """There is no object at the key."""


class Contention(Exception):
    """Other writers were quicker UPDATE_ATTEMPTS_MAX times."""


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a range, in key order.

    `revision` is the store's when it read; `more` tells that items follow; `count` is how many
    keys the range holds from its start, those not returned included.
    """

    items: list[Stored]
    revision: int
    more: bool
    count: int


class Known(Protocol):
    """Whoever may have decoded a key's value already: the watch cache."""

    def known(self, key: bytes, revision: int) -> Stored | None: ...


class RevisionClock:
    """The highest revision that any answer of the store has carried, shared by all storages."""

    def __init__(self) -> None:
        self.latest = 0

    def seen(self, revision: int) -> int:
        self.latest = max(self.latest, revision)
        return revision


class Storage:
    """Reads and guarded writes of one kind's objects.

    `to_storage` and `from_storage` convert between the served and the stored version, where they
    differ. Errors of the store pass through as `ClientError`. With `dry_run` a write checks all and
    changes nothing.
    """

    def __init__(
        self,
        client: Client,
        clock: RevisionClock,
        to_storage: Conversion | None = None,
        from_storage: Conversion | None = None,
    ) -> None:
        self.client = client
        self.clock = clock
        self._to_storage = to_storage
        self._from_storage = from_storage

    def decode(self, pair: kv_pb2.KeyValue) -> Stored:
        """Turn a pair into the object, its resource version the mod revision; Undecodable."""
        return decode(pair.key, pair.value, pair.mod_revision, self._from_storage)

    async def current_revision(self) -> int:
        """Ask the store for its revision, linearizably. Cost: one small read."""
        answer = await self.client.range(rpc_pb2.RangeRequest(key=b"\0", count_only=True))
        return self.clock.seen(answer.header.revision)

    async def get(self, key: bytes) -> Stored | None:
        """Read one object, linearizably."""
        page = await self.get_page(key)
        return page.items[0] if page.items else None

    async def get_page(self, key: bytes, revision: int = 0) -> Page:
        """Read one object as a page of one or none, at the latest or an older revision."""
        answer = await self.client.get(key, revision=revision)
        self.clock.seen(answer.header.revision)
        items = [self.decode(pair) for pair in answer.kvs]
        return Page(items, answer.header.revision, False, len(items))

    async def create(
        self,
        key: bytes,
        obj: JsonObject,
        *,
        lease: int = 0,
        claims: Claims | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """Put an object where there is none; KeyExists otherwise.

        `claims` joins other keys to the same transaction; ClaimRefused when one of them is held.
        """
        if dry_run:
            if await self.get(key) is not None:
                raise KeyExists
            return Stored(key, 0, obj=obj)
        request = rpc_pb2.TxnRequest(
            compare=[_mod_revision_is(key, 0)], success=[self._put(key, obj, lease=lease)]
        )
        if claims is not None:
            claims.add_to(request)
        answer = await self.client.txn(request)
        self.clock.seen(answer.header.revision)
        if not answer.succeeded:
            if claims is not None and await self.get(key) is None:
                raise ClaimRefused
            raise KeyExists
        return with_revision(key, obj, answer.header.revision)

    async def update(
        self,
        key: bytes,
        change: Change,
        *,
        known: Stored | None = None,
        claims: ClaimsOf | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """Write what `change` makes of the object; KeyMissing where there is none.

        `change` gets the present object, which it must not alter, and is called again when another
        writer was quicker. Returning None, or an equal object, writes nothing. `known` saves the
        first read; what a stale one makes `change` refuse is judged again on the present object.
        """
        stored = known if known is not None else await self.get(key)
        fresh = known is None
        for _ in range(UPDATE_ATTEMPTS_MAX):
            if stored is None:
                raise KeyMissing
            present = stored.object
            try:
                changed = await change(present)
            except Exception:
                if fresh:
                    raise
                stored, fresh = await self.get(key), True
                continue
            if changed is None or same_object(changed, present):
                if fresh:
                    return stored
                stored, fresh = await self.get(key), True
                continue
            if dry_run and fresh:
                return with_revision(key, changed, stored.revision)
            if dry_run:
                stored, fresh = await self.get(key), True
                continue
            extra = claims(changed, present) if claims is not None else None
            written, stored = await self._replace(stored, changed, extra)
            if written is not None:
                return written
            fresh = True
        raise Contention

    async def delete(
        self, key: bytes, revision: int, *, claims: Claims | None = None, dry_run: bool = False
    ) -> Stored | int:
        """Delete the object at `revision`; return the revision of the deletion.

        When another writer was quicker, return the object as it is now; KeyMissing when it is gone.
        """
        if dry_run:
            return revision
        remove = rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key))
        request = rpc_pb2.TxnRequest(
            compare=[_mod_revision_is(key, revision)], success=[remove], failure=[_read(key)]
        )
        if claims is not None:
            claims.add_to(request)
        answer = await self.client.txn(request)
        self.clock.seen(answer.header.revision)
        if answer.succeeded:
            return answer.header.revision
        pairs = answer.responses[0].response_range.kvs
        if not pairs:
            raise KeyMissing
        return self.decode(pairs[0])

    async def list(
        self,
        prefix: bytes,
        *,
        start: bytes = b"",
        limit: int = 0,
        revision: int = 0,
        known: Known | None = None,
    ) -> Page:
        """Read the objects under `prefix` from key `start` on, linearizably; limit 0 is none.

        Raises `CompactedError` when `revision` is gone. `known` saves decoding.
        """
        request = rpc_pb2.RangeRequest(
            key=start or prefix, range_end=prefix_range_end(prefix), limit=limit, revision=revision
        )
        answer = await self.client.range(request)
        self.clock.seen(answer.header.revision)
        items = []
        for pair in answer.kvs:
            found = known.known(pair.key, pair.mod_revision) if known is not None else None
            items.append(found if found is not None else self.decode(pair))
        return Page(items, answer.header.revision, answer.more, answer.count)

    def _put(self, key: bytes, obj: JsonObject, lease: int = 0) -> rpc_pb2.RequestOp:
        value = encode(obj if self._to_storage is None else self._to_storage(obj))
        put = rpc_pb2.PutRequest(key=key, value=value, lease=lease)
        return rpc_pb2.RequestOp(request_put=put)

    async def _replace(
        self, stored: Stored, changed: JsonObject, claims: Claims | None
    ) -> tuple[Stored | None, Stored | None]:
        """Return (what was written, None), or (None, what is there instead)."""
        put = self._put(stored.key, changed)
        put.request_put.ignore_lease = True  # an Event keeps its time to live
        request = rpc_pb2.TxnRequest(
            compare=[_mod_revision_is(stored.key, stored.revision)],
            success=[put],
            failure=[_read(stored.key)],
        )
        if claims is not None:
            claims.add_to(request)
        answer = await self.client.txn(request)
        self.clock.seen(answer.header.revision)
        if answer.succeeded:
            return with_revision(stored.key, changed, answer.header.revision), None
        pairs = answer.responses[0].response_range.kvs
        there = self.decode(pairs[0]) if pairs else None
        if claims is not None and there is not None and there.revision == stored.revision:
            raise ClaimRefused
        return None, there


class ClaimRefused(Exception):
    """A key that the transaction claims is held by another owner."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Keys taken and given back in the same transaction that writes an object."""

    taken: dict[bytes, bytes]
    """Key -> value to put; the key must not exist."""

    released: tuple[bytes, ...] = ()

    def add_to(self, request: rpc_pb2.TxnRequest) -> None:
        for key, value in self.taken.items():
            request.compare.append(_mod_revision_is(key, 0))
            put = rpc_pb2.PutRequest(key=key, value=value)
            request.success.append(rpc_pb2.RequestOp(request_put=put))
        for key in self.released:
            remove = rpc_pb2.DeleteRangeRequest(key=key)
            request.success.append(rpc_pb2.RequestOp(request_delete_range=remove))


def _read(key: bytes) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key))


def _mod_revision_is(key: bytes, revision: int) -> rpc_pb2.Compare:
    return rpc_pb2.Compare(
        result=rpc_pb2.Compare.EQUAL,
        target=rpc_pb2.Compare.MOD,
        key=key,
        mod_revision=revision,
    )


def same_object(one: JsonObject, other: JsonObject) -> bool:
    """Compare but for the resource version, which a client may have sent back or left out."""
    if one.keys() != other.keys():
        return False
    for name, value in one.items():
        if name != "metadata":
            if value != other[name]:
                return False
            continue
        mine = {k: v for k, v in value.items() if k != "resourceVersion"}
        theirs = {k: v for k, v in other[name].items() if k != "resourceVersion"}
        if mine != theirs:
            return False
    return True
