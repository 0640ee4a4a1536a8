"""The client without an event loop, and transactions in memory, on three members."""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv.client import (
    Client,
    CompactedError,
    ElectionError,
    Session,
    Stm,
    StmConflictError,
    SyncClient,
    transact,
)
from raftkv.client.sync import SyncStm
from raftkv.testing.process_cluster import ProcessCluster

INCREMENTS = 20
THREADS = 4


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Three members, for all tests of this file."""
    directory: Path = tmp_path_factory.mktemp("cluster")
    with ProcessCluster(3, directory) as cluster:
        cluster.wait_ready()
        yield cluster.endpoints


@pytest.fixture
def client(endpoints: list[str]) -> Iterator[SyncClient]:
    with SyncClient(endpoints) as one:
        yield one


def test_keys_without_a_loop(client: SyncClient) -> None:
    client.put(b"sync/a", b"1")
    client.put(b"sync/b", b"2")
    assert [kv.value for kv in client.get(b"sync/", b"sync0").kvs] == [b"1", b"2"]
    assert client.delete(b"sync/", b"sync0").deleted == 2
    assert len(client.member_list().members) == 3


def test_errors_are_those_of_the_asynchronous_client(client: SyncClient) -> None:
    client.put(b"compacted", b"1")
    revision = client.put(b"compacted", b"2").header.revision
    client.compact(revision)
    with pytest.raises(CompactedError):
        client.get(b"compacted", revision=revision - 1)


def test_a_watch_is_iterated_and_ended_by_another_thread(client: SyncClient) -> None:
    revision = client.put(b"watched", b"0").header.revision
    seen: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with client.watch(b"watched", start_revision=revision) as watch:

        def read() -> None:
            for response in watch:
                for event in response.events:
                    seen.put(event.kv.value)

        reader = threading.Thread(target=read)
        reader.start()
        client.put(b"watched", b"1")
        assert [seen.get(timeout=5), seen.get(timeout=5)] == [b"0", b"1"]
        watch.close()
        reader.join(5)
        assert not reader.is_alive()


def test_a_lock_has_one_holder_at_a_time(client: SyncClient) -> None:
    """Threads that read, wait and write under the lock lose no increment; tokens grow."""
    tokens: list[int] = []

    def work() -> None:
        with client.session(ttl_s=10) as session:
            for _ in range(5):
                with session.mutex(b"the-lock") as mutex:
                    tokens.append(mutex.revision)
                    found = client.get(b"counted").kvs
                    client.put(b"counted", b"%d" % (int(found[0].value if found else 0) + 1))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get(b"counted").kvs[0].value == b"%d" % (5 * THREADS)
    assert tokens == sorted(tokens)


def test_an_election_passes_on_when_its_leader_resigns(client: SyncClient) -> None:
    with client.session(ttl_s=10) as first, client.session(ttl_s=10) as second:
        one, other = first.election(b"office"), second.election(b"office")
        with pytest.raises(ElectionError):
            one.leader()
        one.campaign(b"one")
        assert other.leader().kvs[0].value == b"one"
        waiting = threading.Thread(target=other.campaign, args=(b"other",))
        waiting.start()
        one.resign()
        waiting.join(5)
        assert one.leader().kvs[0].value == b"other"
    assert not first.is_lost


def test_transactions_in_memory_lose_no_update(client: SyncClient) -> None:
    """Threads increment two keys at once: their sum is exact, and both agree."""

    def increment(stm: SyncStm) -> None:
        for key in (b"stm/x", b"stm/y"):
            stm.put(key, b"%d" % (int(stm.get(key) or b"0") + 1))

    def work() -> None:
        for _ in range(INCREMENTS):
            client.transact(increment)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = b"%d" % (INCREMENTS * THREADS)
    assert [kv.value for kv in client.get(b"stm/", b"stm0").kvs] == [total, total]


async def test_a_transaction_sees_one_revision_and_its_own_writes(endpoints: list[str]) -> None:
    async with Client(endpoints) as client:
        await client.put(b"one/a", b"1")
        await client.put(b"one/b", b"1")

        async def apply(stm: Stm) -> tuple[bytes | None, bytes | None, bytes | None]:
            first = await stm.get(b"one/a")
            if first == b"1":
                await client.put(b"one/a", b"2")
                await client.put(b"one/b", b"2")
            second = await stm.get(b"one/b")
            stm.delete(b"one/b")
            return first, second, await stm.get(b"one/b")

        assert await transact(client, apply) == (b"2", b"2", None)
        assert not (await client.get(b"one/b")).kvs


async def test_a_transaction_gives_up_where_others_are_always_faster(
    endpoints: list[str],
) -> None:
    async with Client(endpoints) as client:

        async def apply(stm: Stm) -> None:
            await stm.get(b"contended")
            await client.put(b"contended", b"theirs")
            stm.put(b"contended", b"ours")

        with pytest.raises(StmConflictError):
            await transact(client, apply, attempts_max=3)
        assert (await client.get(b"contended")).kvs[0].value == b"theirs"


async def test_a_session_whose_lease_is_revoked_says_so(endpoints: list[str]) -> None:
    async with Client(endpoints) as client, Session(client, ttl_s=3) as session:
        await client.lease_revoke(session.lease)
        await session.lost.wait()
