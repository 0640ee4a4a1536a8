"""Every option of Lease: a real etcd and raftkv answer the same."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from raftkv.pb.etcd import rpc_pb2 as pb
from tests.raftkv.compat.pair import (
    Call,
    Side,
    Step,
    both_answer,
    comparable,
    get,
    grant,
    put,
    revoke,
    time_to_live,
    txn,
)

pytestmark = pytest.mark.slow

LEASES: Call = ("Lease/LeaseLeases", pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse)

CASES: dict[str, Sequence[Step]] = {
    "grant": [grant(101)],
    "ttl below the minimum": [grant(102, 1), time_to_live(102), revoke(102)],
    "ttl zero": [grant(103, 0), revoke(103)],
    "negative ttl": [grant(104, -5), revoke(104)],
    "largest ttl": [grant(105, 9_000_000_000), revoke(105)],
    "granted twice": [grant(106), grant(106)],
    "negative id": [grant(-7), time_to_live(-7), revoke(-7)],
    "revoke": [grant(107), put(b"l", lease=107), revoke(107), get(b"l"), revoke(107)],
    "revoke without keys": [grant(108), revoke(108), get(b"l")],
    "revoke deletes in one revision": [
        grant(109),
        put(b"l/2", lease=109),
        put(b"l/1", lease=109),
        put(b"l/3", lease=109),
        revoke(109),
        get(b"l/", b"l0"),
    ],
    "time to live of an unknown lease": [time_to_live(404), time_to_live(404, keys=True)],
    "keys": [
        grant(110),
        time_to_live(110, keys=True),
        put(b"l/b", lease=110),
        put(b"l/a", lease=110),
        put(b"l/c", lease=110),
        put(b"l/c"),
    ],
    "keys of a transaction": [grant(111), txn([], [put(b"l/x", lease=111), put(b"l/y")])],
}


@pytest.mark.parametrize("name", CASES)
async def test_lease(same: list[Side], name: str) -> None:
    await both_answer(same, CASES[name])


async def test_keys_of_a_lease(same: list[Side]) -> None:
    """The keys are those attached now; their order is not promised by etcd."""
    await both_answer(
        same,
        [grant(120), *(put(b"k/%d" % n, lease=120) for n in (3, 1, 2)), put(b"k/2")],
    )
    told = [await side.ask(*time_to_live(120, keys=True)) for side in same]
    for answer in told:
        assert sorted(answer.keys) == [b"k/1", b"k/3"]
        assert answer.grantedTTL == 1000
        assert 995 <= answer.TTL <= 1000


async def test_an_id_is_chosen(same: list[Side]) -> None:
    for side in same:
        granted = await side.ask(*grant(0, 50))
        assert 0 < granted.ID < 1 << 63
        assert granted.TTL == 50
        await side.ask(*revoke(granted.ID))


async def test_leases_are_listed_by_expiry(same: list[Side]) -> None:
    told: list[list[int]] = []
    await both_answer(same, [grant(131, 3000), grant(132, 2500), grant(133, 2800)])
    for side in same:
        answer = await side.ask(*LEASES)
        told.append([one.ID for one in answer.leases if one.ID in (131, 132, 133)])
    assert told[1] == told[0] == [132, 133, 131]


async def keep_alive(side: Side, ids: Sequence[int]) -> list[str]:
    """Renew leases on one stream; return the answers."""
    stream: Any = side.channel.stream_stream(
        "/etcdserverpb.Lease/LeaseKeepAlive",
        request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
        response_deserializer=pb.LeaseKeepAliveResponse.FromString,
    )()
    told = []
    for one in ids:
        await stream.write(pb.LeaseKeepAliveRequest(ID=one))
        told.append(comparable(await stream.read()))
    await stream.done_writing()
    return told


async def test_keep_alive(same: list[Side]) -> None:
    """Each request is answered, in order; an unknown lease with TTL 0."""
    await both_answer(same, [grant(140), grant(141, 500)])
    told = [await keep_alive(side, [140, 404, 141, 140]) for side in same]
    assert told[1] == told[0]


async def test_a_lease_ends_with_its_time(same: list[Side]) -> None:
    """Its keys are deleted in one revision soon after; a renewed lease lives on."""
    await both_answer(
        same, [grant(150, 2), grant(151, 2), put(b"e/1", lease=150), put(b"e/2", lease=150)]
    )
    await both_answer(same, [put(b"e/3", lease=151)])

    async def until_ended(side: Side) -> str:
        async with asyncio.timeout(15):
            while (await side.ask(*get(b"e/", b"e0"))).count > 1:
                await keep_alive(side, [151])
                await asyncio.sleep(0.1)
        return comparable(await side.ask(*get(b"e/", b"e0")))

    told = await asyncio.gather(*map(until_ended, same))
    assert told[1] == told[0]
    assert "e/3" in told[0]
    await both_answer(same, [time_to_live(150), revoke(151)])
