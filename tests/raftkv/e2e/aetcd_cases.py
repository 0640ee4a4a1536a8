"""aetcd, an independent client, finds what it expects at one member.

Run by test_aetcd.py in a process of its own: aetcd registers the same protobuf messages as we do.
"""

import asyncio
import os
from collections.abc import AsyncIterator

import aetcd
import pytest


@pytest.fixture
async def client() -> AsyncIterator[aetcd.Client]:
    port = int(os.environ["RAFTKV_TEST_PORT"])
    async with aetcd.Client(host="127.0.0.1", port=port) as opened:
        await opened.delete_prefix(b"aetcd/")
        yield opened


async def test_keys(client: aetcd.Client) -> None:
    await client.put(b"aetcd/a", b"1")
    await client.put(b"aetcd/b", b"2")
    found = await client.get(b"aetcd/a")
    assert (found.value, found.version) == (b"1", 1)
    assert [pair.key for pair in await client.get_prefix(b"aetcd/")] == [b"aetcd/a", b"aetcd/b"]
    assert await client.replace(b"aetcd/a", b"1", b"3")
    assert not await client.replace(b"aetcd/a", b"1", b"4")
    assert await client.delete(b"aetcd/a")
    assert await client.get(b"aetcd/a") is None


async def test_watch(client: aetcd.Client) -> None:
    watch = await client.watch_prefix(b"aetcd/")
    await client.put(b"aetcd/w", b"1")
    await client.delete(b"aetcd/w")
    seen = []
    async with asyncio.timeout(5):
        async for event in watch:
            seen.append((str(event.kind), event.kv.key))
            if len(seen) == 2:
                break
    await watch.cancel()
    assert seen == [("PUT", b"aetcd/w"), ("DELETE", b"aetcd/w")]


async def test_leases_and_locks(client: aetcd.Client) -> None:
    lease = await client.lease(20)
    assert lease.ttl == 20
    await client.put(b"aetcd/l", b"1", lease=lease)
    info = await client.get_lease_info(lease.id)
    assert (info.grantedTTL, list(info.keys)) == (20, [b"aetcd/l"])
    refreshed = await client.refresh_lease(lease.id)
    assert refreshed.TTL == 20
    await client.revoke_lease(lease.id)
    assert await client.get(b"aetcd/l") is None
    async with client.lock(b"aetcd/lock", ttl=10) as lock:
        assert await lock.is_acquired()


async def test_transactions(client: aetcd.Client) -> None:
    ops = client.transactions
    succeeded, responses = await client.transaction(
        compare=[ops.version(b"aetcd/t") == 0],
        success=[ops.put(b"aetcd/t", b"1")],
        failure=[ops.get(b"aetcd/t")],
    )
    assert succeeded
    assert len(responses) == 1


async def test_members(client: aetcd.Client) -> None:
    names = sorted([member.name async for member in client.members()])
    assert names == ["m0", "m1", "m2"]
    status = await client.status()
    assert status.leader is not None
