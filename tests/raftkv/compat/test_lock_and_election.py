"""Lock and Election: a real etcd and raftkv answer the same, and wait for the same."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from raftkv.pb.etcd import election_pb2 as el
from raftkv.pb.etcd import lock_pb2 as lk
from tests.raftkv.compat.pair import Call, Side, Step, both_answer, comparable, get, grant, revoke

pytestmark = pytest.mark.slow

LOCK, ELECTION = "/v3lockpb.Lock/", "/v3electionpb.Election/"


def lock(name: bytes, lease: int) -> Call:
    return LOCK + "Lock", lk.LockRequest(name=name, lease=lease), lk.LockResponse


def unlock(key: bytes) -> Call:
    return LOCK + "Unlock", lk.UnlockRequest(key=key), lk.UnlockResponse


def campaign(name: bytes, lease: int, value: bytes) -> Call:
    request = el.CampaignRequest(name=name, lease=lease, value=value)
    return ELECTION + "Campaign", request, el.CampaignResponse


def leader(name: bytes) -> Call:
    return ELECTION + "Leader", el.LeaderRequest(name=name), el.LeaderResponse


def proclaim(key: el.LeaderKey | None, value: bytes) -> Call:
    return (
        ELECTION + "Proclaim",
        el.ProclaimRequest(leader=key, value=value),
        el.ProclaimResponse,
    )


def resign(key: el.LeaderKey | None) -> Call:
    return ELECTION + "Resign", el.ResignRequest(leader=key), el.ResignResponse


def named(name: bytes, lease: int, revision: int) -> el.LeaderKey:
    return el.LeaderKey(name=name, key=name + b"/%x" % lease, rev=revision, lease=lease)


CASES: dict[str, list[Step]] = {
    "lock and unlock": [grant(10), lock(b"l", 10), get(b"l/a"), unlock(b"l/a"), get(b"l/a")],
    "locked already by the same lease": [grant(11), lock(b"l", 11), lock(b"l", 11), revoke(11)],
    "without a name": [grant(12), lock(b"", 12), revoke(12)],
    "unknown lease": [lock(b"l", 404), campaign(b"l", 404, b"x")],
    "unlock of nothing": [unlock(b"l/404")],
    "unlock without key": [unlock(b"")],
    "nobody leads": [leader(b"nobody")],
    "campaign": [grant(13), campaign(b"c", 13, b"1"), leader(b"c"), revoke(13), leader(b"c")],
    "campaign again with another value": [
        grant(14),
        campaign(b"c", 14, b"1"),
        campaign(b"c", 14, b"2"),
        leader(b"c"),
        revoke(14),
    ],
    "proclaim": [
        grant(15),
        campaign(b"c", 15, b"1"),
        lambda now: proclaim(named(b"c", 15, now), b"2"),
        leader(b"c"),
        revoke(15),
    ],
    "proclaim of another term": [
        grant(16),
        campaign(b"c", 16, b"1"),
        lambda now: proclaim(named(b"c", 16, now - 1), b"2"),
        revoke(16),
    ],
    "proclaim with an unknown lease": [
        grant(17),
        campaign(b"c", 17, b"1"),
        lambda now: proclaim(el.LeaderKey(name=b"c", key=b"c/11", rev=now, lease=404), b"2"),
        revoke(17),
    ],
    "resign": [
        grant(18),
        campaign(b"c", 18, b"1"),
        lambda now: resign(named(b"c", 18, now - 1)),
        leader(b"c"),
        lambda now: resign(named(b"c", 18, now)),
        leader(b"c"),
        resign(named(b"c", 18, 1)),
        revoke(18),
    ],
    "no leader in the request": [proclaim(None, b"x"), resign(None)],
}


@pytest.mark.parametrize("name", CASES)
async def test_answers(same: list[Side], name: str) -> None:
    await both_answer(same, CASES[name])


async def until(check: Callable[[], Any]) -> Any:
    """Return what `check` returns as soon as that is true."""
    async with asyncio.timeout(10):
        while not (found := await check()):
            await asyncio.sleep(0.02)
    return found


async def waits_behind(side: Side, prefix: bytes, count: int) -> None:
    """Return once so many contend."""

    async def contend() -> bool:
        found = await side.ask(*get(prefix + b"/", prefix + b"0"))
        return bool(found.count >= count)

    await until(contend)


@pytest.mark.parametrize("ask", [lock, lambda name, lease: campaign(name, lease, b"v")])
async def test_contenders_wait_for_their_turn(
    same: list[Side], ask: Callable[[bytes, int], Call]
) -> None:
    """In the order of their coming: an unlock, then the end of a lease, lets the next one in."""
    told = []
    for side in same:
        leases = [20, 21, 22]
        for one in leases:
            await side.ask(*grant(one))
        await side.ask(*ask(b"turn", 20))
        waiting = []
        for number, one in enumerate(leases[1:], start=2):
            waiting.append(asyncio.create_task(side.answer(*ask(b"turn", one))))
            await waits_behind(side, b"turn", number)
        assert not any(task.done() for task in waiting)
        await side.ask(*unlock(b"turn/14"))
        first = await asyncio.wait_for(waiting[0], 5)
        assert not waiting[1].done()
        await side.ask(*revoke(21))
        told.append([first, await asyncio.wait_for(waiting[1], 5)])
        for one in (20, 22):
            await side.ask(*revoke(one))
    assert told[1] == told[0]


async def test_who_loses_its_lease_while_it_waits_is_told(same: list[Side]) -> None:
    told = []
    for side in same:
        for one in (30, 31):
            await side.ask(*grant(one))
        await side.ask(*lock(b"lost", 30))
        waiting = asyncio.create_task(side.answer(*lock(b"lost", 31)))
        await waits_behind(side, b"lost", 2)
        await side.ask(*revoke(31))
        await side.ask(*unlock(b"lost/1e"))
        told.append(await asyncio.wait_for(waiting, 5))
        await side.ask(*revoke(30))
    assert told[1] == told[0] == (grpc.StatusCode.UNKNOWN, "mutex: session is expired")


@pytest.mark.parametrize("ask", [lock, lambda name, lease: campaign(name, lease, b"v")])
async def test_who_goes_away_leaves_nothing_behind(
    same: list[Side], ask: Callable[[bytes, int], Call]
) -> None:
    for side in same:
        for one in (40, 41):
            await side.ask(*grant(one))
        await side.ask(*ask(b"gone", 40))
        waiting = asyncio.create_task(side.ask(*ask(b"gone", 41)))
        await waits_behind(side, b"gone", 2)
        waiting.cancel()

        async def alone(side: Side = side) -> bool:
            return bool((await side.ask(*get(b"gone/", b"gone0"))).count == 1)

        await until(alone)
        for one in (40, 41):
            await side.ask(*revoke(one))


async def test_without_a_lease_one_is_granted(same: list[Side]) -> None:
    for side in same:
        locked = await side.ask(*lock(b"own", 0))
        lease = int(locked.key.removeprefix(b"own/"), 16)
        found = await side.ask(*get(locked.key))
        assert found.kvs[0].lease == lease
        await side.ask(*revoke(lease))


async def observed(side: Side, name: bytes) -> AsyncIterator[str]:
    stream = side.channel.unary_stream(
        ELECTION + "Observe",
        request_serializer=el.LeaderRequest.SerializeToString,
        response_deserializer=el.LeaderResponse.FromString,
    )(el.LeaderRequest(name=name))
    try:
        async for response in stream:
            yield comparable(response)
    finally:
        stream.cancel()


async def test_observe(same: list[Side]) -> None:
    """The leader there is, each value that it proclaims, and the next leader."""
    told = []
    for side in same:
        for one in (50, 51):
            await side.ask(*grant(one))
        first = await side.ask(*campaign(b"seen", 50, b"1"))
        events = observed(side, b"seen")
        seen = [await anext(events)]
        await side.ask(*proclaim(first.leader, b"2"))
        seen.append(await anext(events))
        await side.ask(*resign(first.leader))
        await side.ask(*campaign(b"seen", 51, b"3"))
        seen.append(await anext(events))
        await events.aclose()  # type: ignore[attr-defined]
        told.append(seen)
        for one in (50, 51):
            await side.ask(*revoke(one))
    assert told[1] == told[0]


async def test_observe_waits_for_a_leader(same: list[Side]) -> None:
    told = []
    for side in same:
        await side.ask(*grant(60))
        events = observed(side, b"later")
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await side.ask(*campaign(b"later", 60, b"1"))
        told.append(await asyncio.wait_for(waiting, 5))
        await events.aclose()  # type: ignore[attr-defined]
        await side.ask(*revoke(60))
    assert told[1] == told[0]
