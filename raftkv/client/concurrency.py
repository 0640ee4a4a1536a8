"""Locks and elections over leases: clientv3's algorithm, whose keys other clients understand.

Whoever wants a lock or an office writes a key `<name>/<lease in hexadecimal>`, bound to its lease.
The key that was created first has it; everyone else waits for the key before its own to go. A key
goes when its owner gives up or its lease ends: a dead owner holds nothing for longer than its TTL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType

import grpc

from raftkv.client.client import Client
from raftkv.client.errors import ClientError, LeaseNotFoundError
from raftkv.client.prefix import prefix_range_end
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as pb

__all__ = ["Election", "ElectionError", "Mutex", "Session", "SessionExpiredError"]

SESSION_TTL_S = 60
RENEW_FRACTION = 1 / 3
RETRY_S = 0.2


class SessionExpiredError(Exception):
    """The lease ended: what was held with it is held no more."""


class ElectionError(Exception):
    """There is no leader, or this client is not it."""


class Session:
    """A lease that is kept alive while the `async with` block runs, and revoked at its end.

    `lost` is set when the lease is gone before that, or may be: its TTL passed without an answer.
    """

    def __init__(self, client: Client, ttl_s: int = SESSION_TTL_S) -> None:
        self.client = client
        self.lease = 0
        self.lost = asyncio.Event()
        self._ttl_s = ttl_s
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Session:
        granted = await self.client.lease_grant(self._ttl_s)
        self.lease, self._ttl_s = granted.ID, granted.TTL
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if not self.lost.is_set():
            with suppress(LeaseNotFoundError):
                await self.client.lease_revoke(self.lease)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._ttl_s
        async with self.client.lease_keeper(self.lease, self._ttl_s) as keeper:
            while loop.time() < ends:
                await asyncio.sleep(self._ttl_s * RENEW_FRACTION)
                asked = loop.time()
                try:
                    async with asyncio.timeout(max(ends - asked, RETRY_S)):
                        renewed = await keeper.renew()
                except (ClientError, TimeoutError):
                    await asyncio.sleep(RETRY_S)
                    continue
                if renewed.TTL <= 0:
                    break
                ends = asked + renewed.TTL
        self.lost.set()


class _Candidacy:
    """A key in the queue for a name."""

    def __init__(self, session: Session, name: bytes) -> None:
        self.session = session
        self.prefix = name + b"/"
        self.key = self.prefix + f"{session.lease:x}".encode()
        self.revision = 0
        """The key's create revision; 0 while it is not written."""

    async def enter(self, value: bytes) -> kv_pb2.KeyValue | None:
        """Write the key unless it is there; returns the one as it was, None where it was not."""
        put = pb.PutRequest(key=self.key, value=value, lease=self.session.lease)
        answer = await self.session.client.txn(
            pb.TxnRequest(
                compare=[_created_at(self.key, 0)],
                success=[pb.RequestOp(request_put=put)],
                failure=[pb.RequestOp(request_range=pb.RangeRequest(key=self.key))],
            )
        )
        if answer.succeeded:
            self.revision = answer.header.revision
            return None
        found = answer.responses[0].response_range.kvs[0]
        self.revision = found.create_revision
        return found

    async def wait_for_turn(self) -> None:
        """Return when no key before this one is left. Raises SessionExpiredError."""
        client = self.session.client
        while True:
            before = await client.range(
                pb.RangeRequest(
                    key=self.prefix,
                    range_end=prefix_range_end(self.prefix),
                    sort_order=pb.RangeRequest.DESCEND,
                    sort_target=pb.RangeRequest.CREATE,
                    limit=1,
                    max_create_revision=self.revision - 1,
                )
            )
            if not before.kvs:
                break
            await _until_deleted(client, before.kvs[0].key, before.header.revision + 1)
        own = await client.get(self.key)
        if not own.kvs or own.kvs[0].create_revision != self.revision:
            raise SessionExpiredError("session expired: its key is gone")

    async def leave(self) -> None:
        """Delete the key if it is still the one that was written."""
        if self.revision:
            delete = pb.DeleteRangeRequest(key=self.key)
            await self.session.client.txn(
                pb.TxnRequest(
                    compare=[_created_at(self.key, self.revision)],
                    success=[pb.RequestOp(request_delete_range=delete)],
                )
            )
            self.revision = 0


class Mutex:
    """A lock among all sessions that use its name. Not to be shared between tasks."""

    def __init__(self, session: Session, name: bytes) -> None:
        self._candidacy = _Candidacy(session, name)

    @property
    def key(self) -> bytes:
        """The key that stands for this holder."""
        return self._candidacy.key

    @property
    def revision(self) -> int:
        """The key's create revision, which grows from holder to holder: a fencing token."""
        return self._candidacy.revision

    async def lock(self) -> None:
        """Wait for the lock. Cancelled, it leaves the queue. Raises SessionExpiredError."""
        try:
            await self._candidacy.enter(b"")
            await self._candidacy.wait_for_turn()
        except BaseException:
            await asyncio.shield(self._candidacy.leave())
            raise

    async def unlock(self) -> None:
        """Give the lock back; harmless where the session lost it."""
        await self._candidacy.leave()

    async def __aenter__(self) -> Mutex:
        await self.lock()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.unlock()


class Election:
    """An office that one session of many holds at a time."""

    def __init__(self, session: Session, name: bytes) -> None:
        self._session = session
        self._candidacy = _Candidacy(session, name)

    @property
    def key(self) -> bytes:
        """The key of this candidate; its value is what the candidate proposes."""
        return self._candidacy.key

    async def campaign(self, value: bytes) -> None:
        """Wait until this session leads. Cancelled, it gives up. Raises SessionExpiredError."""
        try:
            found = await self._candidacy.enter(value)
            if found is not None and found.value != value:
                await self.proclaim(value)
            await self._candidacy.wait_for_turn()
        except BaseException:
            await asyncio.shield(self._candidacy.leave())
            raise

    async def proclaim(self, value: bytes) -> None:
        """Change what the candidate proposes. Raises ElectionError where it is none."""
        put = pb.PutRequest(key=self.key, value=value, lease=self._session.lease)
        answer = await self._session.client.txn(
            pb.TxnRequest(
                compare=[_created_at(self.key, self._candidacy.revision or -1)],
                success=[pb.RequestOp(request_put=put)],
            )
        )
        if not answer.succeeded:
            raise ElectionError("election: not leader")

    async def resign(self) -> None:
        """Leave the office, or the queue."""
        await self._candidacy.leave()

    async def leader(self) -> pb.RangeResponse:
        """Return the leader's key. Raises ElectionError where there is none."""
        return await leader_of(self._session.client, self._candidacy.prefix)


async def leader_of(client: Client, prefix: bytes) -> pb.RangeResponse:
    """Return the first key below an election's prefix. Raises ElectionError."""
    found = await client.range(
        pb.RangeRequest(
            key=prefix,
            range_end=prefix_range_end(prefix),
            sort_order=pb.RangeRequest.ASCEND,
            sort_target=pb.RangeRequest.CREATE,
            limit=1,
        )
    )
    if not found.kvs:
        raise ElectionError("election: no leader")
    return found


async def observe(client: Client, name: bytes) -> AsyncIterator[pb.RangeResponse]:
    """Yield the leader's key, then again each time that it changes or another one leads."""
    prefix = name + b"/"
    while True:
        try:
            leader = await leader_of(client, prefix)
        except ElectionError:
            now = await client.get(prefix)
            await _until_put(client, prefix, now.header.revision)
            continue
        yield leader
        watch = client.watch(leader.kvs[0].key, start_revision=leader.header.revision + 1)
        async with watch as responses:
            async for response in responses:
                for event in response.events:
                    if event.type == kv_pb2.Event.PUT:
                        yield pb.RangeResponse(header=response.header, kvs=[event.kv], count=1)
                if any(event.type == kv_pb2.Event.DELETE for event in response.events):
                    break


def _created_at(key: bytes, revision: int) -> pb.Compare:
    return pb.Compare(
        key=key, target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=revision
    )


async def _until_deleted(client: Client, key: bytes, revision: int) -> None:
    async with client.watch(key, start_revision=revision) as responses:
        async for response in responses:
            if any(event.type == kv_pb2.Event.DELETE for event in response.events):
                return
    raise ClientError(grpc.StatusCode.CANCELLED, "lost watcher waiting for delete")


async def _until_put(client: Client, prefix: bytes, revision: int) -> None:
    watch = client.watch(prefix, prefix_range_end(prefix), start_revision=revision)
    async with watch as responses:
        async for response in responses:
            if any(event.type == kv_pb2.Event.PUT for event in response.events):
                return
    raise ClientError(grpc.StatusCode.CANCELLED, "lost watcher waiting for a leader")
