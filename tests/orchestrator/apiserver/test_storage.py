"""Guarded writes on a real store: no lost update, no stale refusal, no needless write."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from orchestrator.api.json_object import JsonObject
from orchestrator.apiserver.storage import (
    ClaimRefused,
    Claims,
    KeyExists,
    KeyMissing,
    RevisionClock,
    Storage,
)
from orchestrator.apiserver.stored import Stored
from raftkv.client import Client

_keys = itertools.count()


@pytest.fixture
async def storage(etcd: str) -> AsyncIterator[Storage]:
    async with Client([etcd]) as client:
        yield Storage(client, RevisionClock())


@pytest.fixture
def key() -> bytes:
    return b"/storage-test/%d/a" % next(_keys)


def counter(count: int) -> JsonObject:
    return {"metadata": {"name": "a"}, "count": count}


async def plus_one(obj: JsonObject) -> JsonObject:
    return {**obj, "count": obj["count"] + 1}


async def test_the_resource_version_is_the_revision_and_is_not_stored(
    storage: Storage, key: bytes
) -> None:
    made = await storage.create(key, counter(0))
    assert made.object["metadata"]["resourceVersion"] == str(made.revision)
    raw = (await storage.client.get(key)).kvs[0]
    assert b"resourceVersion" not in raw.value
    assert raw.mod_revision == made.revision


async def test_create_refuses_a_taken_key(storage: Storage, key: bytes) -> None:
    await storage.create(key, counter(0))
    with pytest.raises(KeyExists):
        await storage.create(key, counter(1))


async def test_no_update_is_lost(storage: Storage, key: bytes) -> None:
    await storage.create(key, counter(0))
    await asyncio.gather(*(storage.update(key, plus_one) for _ in range(20)))
    found = await storage.get(key)
    assert found is not None
    assert found.object["count"] == 20


async def test_a_stale_copy_costs_a_round_only(storage: Storage, key: bytes) -> None:
    stale = await storage.create(key, counter(0))
    await storage.update(key, plus_one)

    async def only_at_one(obj: JsonObject) -> JsonObject:
        if obj["count"] != 1:
            raise ValueError("not yet")
        return await plus_one(obj)

    assert (await storage.update(key, only_at_one, known=stale)).object["count"] == 2

    async def to_zero(obj: JsonObject) -> JsonObject:
        return {**obj, "count": 0}

    # Equal to the stale copy, but not to the present object: it must be written.
    assert (await storage.update(key, to_zero, known=stale)).revision > stale.revision


async def test_an_equal_object_is_not_written(storage: Storage, key: bytes) -> None:
    made = await storage.create(key, counter(0))

    async def same(obj: JsonObject) -> JsonObject:
        return dict(obj)

    assert (await storage.update(key, same)).revision == made.revision


async def test_updating_nothing_is_an_error(storage: Storage, key: bytes) -> None:
    with pytest.raises(KeyMissing):
        await storage.update(key, plus_one)
    with pytest.raises(KeyMissing):
        await storage.delete(key, 1)


async def test_delete_is_guarded(storage: Storage, key: bytes) -> None:
    made = await storage.create(key, counter(0))
    newer = await storage.update(key, plus_one)
    present = await storage.delete(key, made.revision)
    assert isinstance(present, Stored)
    assert present.object["count"] == 1
    assert isinstance(await storage.delete(key, newer.revision), int)
    assert await storage.get(key) is None


async def test_claims_stand_and_fall_with_the_object(storage: Storage, key: bytes) -> None:
    claim = key + b"-claim"
    await storage.create(key, counter(0), claims=Claims({claim: b"a"}))
    with pytest.raises(ClaimRefused):
        await storage.create(key + b"2", counter(0), claims=Claims({claim: b"b"}))
    assert await storage.get(key + b"2") is None
    stored = await storage.get(key)
    assert stored is not None
    await storage.delete(key, stored.revision, claims=Claims({}, (claim,)))
    assert not (await storage.client.get(claim)).kvs


async def test_dry_runs_write_nothing(storage: Storage, key: bytes) -> None:
    await storage.create(key, counter(0), dry_run=True)
    assert await storage.get(key) is None
    made = await storage.create(key, counter(0))
    changed = await storage.update(key, plus_one, dry_run=True)
    assert (changed.object["count"], changed.revision) == (1, made.revision)
    assert await storage.delete(key, made.revision, dry_run=True) == made.revision
    assert (await storage.get(key)) is not None
