"""Locks exclude, elections elect, and both let go of what is dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from raftkv.client import Client, Election, ElectionError, Mutex, Session, SessionExpiredError
from raftkv.client.concurrency import leader_of, observe
from raftkv.testing.process_cluster import ProcessCluster

DEADLINE_S = 15


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with ProcessCluster(1, tmp_path_factory.mktemp("locks")) as cluster:
        cluster.wait_ready()
        yield cluster


@pytest.fixture
async def client(member: ProcessCluster) -> AsyncIterator[Client]:
    async with Client(member.endpoints) as opened:
        yield opened


async def keys_below(client: Client, name: bytes) -> int:
    return len((await client.get(name + b"/", name + b"0")).kvs)


async def until_keys(client: Client, name: bytes, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await keys_below(client, name) != count:
            await asyncio.sleep(0.01)


async def test_a_lock_excludes_and_its_revision_grows(client: Client) -> None:
    inside, revisions = 0, []

    async def work() -> None:
        nonlocal inside
        async with Session(client, 10) as session, Mutex(session, b"lock") as mutex:
            inside += 1
            assert inside == 1
            revisions.append(mutex.revision)
            await client.put(b"touched", b"")
            inside -= 1

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(work())
    assert revisions == sorted(set(revisions))
    assert len(revisions) == 8
    assert await keys_below(client, b"lock") == 0


async def test_whoever_stops_waiting_leaves_the_queue(client: Client) -> None:
    async with Session(client, 10) as first, Session(client, 10) as second:
        held = Mutex(first, b"queue")
        await held.lock()
        waiting = asyncio.create_task(Mutex(second, b"queue").lock())
        await until_keys(client, b"queue", 2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await keys_below(client, b"queue") == 1
        await held.unlock()
        await held.unlock()


async def test_the_end_of_a_session_frees_its_lock(client: Client) -> None:
    async with Session(client, 10) as second:
        async with Session(client, 10) as first:
            await Mutex(first, b"freed").lock()
            waiting = asyncio.create_task(Mutex(second, b"freed").lock())
            await until_keys(client, b"freed", 2)
        async with asyncio.timeout(DEADLINE_S):
            await waiting


async def test_a_lost_lease_is_told(client: Client) -> None:
    async with Session(client, 2) as session:
        mutex = Mutex(session, b"lost")
        await mutex.lock()
        await client.lease_revoke(session.lease)
        async with asyncio.timeout(DEADLINE_S):
            await session.lost.wait()
        await mutex.unlock()


async def test_who_waits_with_a_lost_lease_does_not_get_the_lock(client: Client) -> None:
    async with Session(client, 10) as first, Session(client, 10) as second:
        held = Mutex(first, b"stale")
        await held.lock()
        waiting = asyncio.create_task(Mutex(second, b"stale").lock())
        await until_keys(client, b"stale", 2)
        await client.lease_revoke(second.lease)
        await held.unlock()
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(SessionExpiredError):
                await waiting


async def test_an_election_has_one_leader_after_the_other(client: Client) -> None:
    async with Session(client, 10) as first, Session(client, 10) as second:
        one, two = Election(first, b"office"), Election(second, b"office")
        with pytest.raises(ElectionError):
            await one.leader()
        await one.campaign(b"one")
        heir = asyncio.create_task(two.campaign(b"two"))
        await until_keys(client, b"office", 2)
        assert (await two.leader()).kvs[0].value == b"one"
        await one.proclaim(b"uno")
        assert (await leader_of(client, b"office/")).kvs[0].value == b"uno"
        await one.resign()
        async with asyncio.timeout(DEADLINE_S):
            await heir
        assert (await one.leader()).kvs[0].value == b"two"
        with pytest.raises(ElectionError):
            await one.proclaim(b"again")


async def test_campaigning_again_changes_the_proposal(client: Client) -> None:
    async with Session(client, 10) as session:
        election = Election(session, b"twice")
        await election.campaign(b"first")
        await election.campaign(b"second")
        assert (await election.leader()).kvs[0].value == b"second"


async def test_an_observer_hears_of_every_leader(client: Client) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen() -> None:
        async for leader in observe(client, b"stage"):
            heard.put_nowait(leader.kvs[0].value)

    listener = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(DEADLINE_S), Session(client, 10) as session:
            election = Election(session, b"stage")
            await election.campaign(b"a")
            assert await heard.get() == b"a"
            await election.proclaim(b"b")
            assert await heard.get() == b"b"
            await election.resign()
            await election.campaign(b"c")
            assert await heard.get() == b"c"
    finally:
        listener.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listener
