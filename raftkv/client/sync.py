"""The client for programs without an event loop: the same methods, which wait.

with SyncClient(["127.0.0.1:2379"]) as client:
    client.put(b"greeting", b"hello")
    with client.session(ttl_s=10) as session, session.mutex(b"lock"):
        ...
    with client.watch(b"greeting", start_revision=1) as watch:
        for response in watch:
            ...

One thread runs the asynchronous client's loop for as long as this one is open; any number of
threads may call. Errors are those of the asynchronous client.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from raftkv.client.authentication import User
from raftkv.client.client import Client
from raftkv.client.concurrency import Election, Mutex, Session
from raftkv.client.endpoints import Credentials
from raftkv.client.stm import ATTEMPTS_MAX, Stm, transact
from raftkv.client.watch import Watch
from raftkv.pb.etcd import rpc_pb2 as pb

__all__ = ["SyncClient", "SyncElection", "SyncMutex", "SyncSession", "SyncStm", "SyncWatch"]

P = ParamSpec("P")
Result = TypeVar("Result")


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="raftkv-client")
        self._thread.daemon = True  # a program may end without closing its client
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait for what a coroutine returns or raises; interrupted, it is cancelled."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def soon(self, act: Callable[[], object]) -> None:
        """Have something done on the loop."""
        self._loop.call_soon_threadsafe(act)

    def close(self) -> None:
        """Stop and wait for the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _waiting(
    method: Callable[Concatenate[Client, P], Awaitable[Result]],
) -> Callable[Concatenate[SyncClient, P], Result]:
    """Make of a method of `Client` the one that waits for it."""

    def wait(self: SyncClient, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        async def work() -> Result:
            return await method(self.client, *args, **kwargs)

        return self.thread.run(work())

    functools.update_wrapper(wait, method)
    return wait


class SyncClient:
    """`Client`, with methods that wait. See there what each does."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        credentials: Credentials | None = None,
        user: User | None = None,
        token: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        self.thread = LoopThread()

        async def make() -> Client:
            return Client(
                endpoints, credentials=credentials, user=user, token=token, timeout_s=timeout_s
            )

        try:
            self.client = self.thread.run(make())
        except BaseException:
            self.thread.close()
            raise

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread."""
        self.thread.run(self.client.close())
        self.thread.close()

    range = _waiting(Client.range)
    get = _waiting(Client.get)
    put = _waiting(Client.put)
    delete = _waiting(Client.delete)
    txn = _waiting(Client.txn)
    compact = _waiting(Client.compact)
    lease_grant = _waiting(Client.lease_grant)
    lease_revoke = _waiting(Client.lease_revoke)
    lease_time_to_live = _waiting(Client.lease_time_to_live)
    lease_leases = _waiting(Client.lease_leases)
    lease_keep_alive_once = _waiting(Client.lease_keep_alive_once)
    member_list = _waiting(Client.member_list)
    member_add = _waiting(Client.member_add)
    member_remove = _waiting(Client.member_remove)
    member_update = _waiting(Client.member_update)
    member_promote = _waiting(Client.member_promote)
    status = _waiting(Client.status)
    alarm_list = _waiting(Client.alarm_list)
    alarm_disarm = _waiting(Client.alarm_disarm)
    hash_kv = _waiting(Client.hash_kv)
    defragment = _waiting(Client.defragment)
    move_leader = _waiting(Client.move_leader)

    def watch(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        start_revision: int = 0,
        prev_kv: bool = False,
        progress_notify: bool = False,
    ) -> SyncWatch:
        """Give an unopened watch; iterate it inside `with`."""
        watch = self.client.watch(
            key,
            range_end,
            start_revision=start_revision,
            prev_kv=prev_kv,
            progress_notify=progress_notify,
        )
        return SyncWatch(self.thread, watch)

    def session(self, ttl_s: int = 60) -> SyncSession:
        """Give an unopened session: a lease that is kept alive inside `with`."""
        return SyncSession(self, ttl_s)

    def transact(
        self, apply: Callable[[SyncStm], Result], attempts_max: int = ATTEMPTS_MAX
    ) -> Result:
        """Run `apply` as one transaction, again where others were faster; see `stm.transact`.

        Raises StmConflictError and ClientError.
        """

        async def attempt(stm: Stm) -> Result:
            return await asyncio.to_thread(apply, SyncStm(self.thread, stm))

        return self.thread.run(transact(self.client, attempt, attempts_max))


class SyncWatch:
    """`Watch`; its iteration waits, and ends when another thread calls `close`."""

    def __init__(self, thread: LoopThread, watch: Watch) -> None:
        self._thread = thread
        self._watch = watch

    def __enter__(self) -> SyncWatch:
        self._thread.run(self._watch.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def created_revision(self) -> int:
        """The store's revision when the server accepted the watch."""
        return self._watch.created_revision

    def close(self) -> None:
        """End the watch."""
        self._thread.soon(self._watch.close)

    def __iter__(self) -> Iterator[pb.WatchResponse]:
        while (response := self._thread.run(self._next())) is not None:
            yield response

    async def _next(self) -> pb.WatchResponse | None:
        return await anext(self._watch, None)


class SyncSession:
    """`Session`: what is held with its lease ends with it."""

    def __init__(self, client: SyncClient, ttl_s: int) -> None:
        self.thread = client.thread
        self.session = Session(client.client, ttl_s)

    def __enter__(self) -> SyncSession:
        self.thread.run(self.session.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.thread.run(self.session.__aexit__(kind, error, trace))

    @property
    def lease(self) -> int:
        """The lease's id."""
        return self.session.lease

    @property
    def is_lost(self) -> bool:
        """Whether the lease is gone, or may be."""
        return self.session.lost.is_set()

    def mutex(self, name: bytes) -> SyncMutex:
        """Give a lock of that name, not yet taken."""
        return SyncMutex(self.thread, Mutex(self.session, name))

    def election(self, name: bytes) -> SyncElection:
        """Give an election of that name, without candidacy."""
        return SyncElection(self.thread, Election(self.session, name))


class SyncMutex:
    """`Mutex`."""

    def __init__(self, thread: LoopThread, mutex: Mutex) -> None:
        self._thread = thread
        self._mutex = mutex

    @property
    def key(self) -> bytes:
        """The key that stands for this holder."""
        return self._mutex.key

    @property
    def revision(self) -> int:
        """A fencing token: it grows from holder to holder."""
        return self._mutex.revision

    def lock(self) -> None:
        """Wait for the lock. Raises SessionExpiredError."""
        self._thread.run(self._mutex.lock())

    def unlock(self) -> None:
        """Give the lock back."""
        self._thread.run(self._mutex.unlock())

    def __enter__(self) -> SyncMutex:
        self.lock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.unlock()


class SyncElection:
    """`Election`."""

    def __init__(self, thread: LoopThread, election: Election) -> None:
        self._thread = thread
        self._election = election

    def campaign(self, value: bytes) -> None:
        """Wait until this session leads. Raises SessionExpiredError."""
        self._thread.run(self._election.campaign(value))

    def proclaim(self, value: bytes) -> None:
        """Change what the candidate proposes. Raises ElectionError where it is none."""
        self._thread.run(self._election.proclaim(value))

    def resign(self) -> None:
        """Leave the office, or the queue."""
        self._thread.run(self._election.resign())

    def leader(self) -> pb.RangeResponse:
        """Return the leader's key. Raises ElectionError where there is none."""
        return self._thread.run(self._election.leader())


class SyncStm:
    """`Stm`, for a function that runs in a thread."""

    def __init__(self, thread: LoopThread, stm: Stm) -> None:
        self._thread = thread
        self._stm = stm

    def get(self, key: bytes) -> bytes | None:
        """Return the value, or None where the key is missing."""
        return self._thread.run(self._stm.get(key))

    def put(self, key: bytes, value: bytes, *, lease: int = 0) -> None:
        """Write a key when the transaction ends."""
        self._stm.put(key, value, lease=lease)

    def delete(self, key: bytes) -> None:
        """Delete a key when the transaction ends."""
        self._stm.delete(key)
