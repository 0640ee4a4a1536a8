"""A leader that slept through its own succession ends no lease that its successor keeps."""

import asyncio
import time
from pathlib import Path

import pytest

from raftkv.client import Client, ClientError
from raftkv.testing.process_cluster import ProcessCluster

TTL_S = 2
PAUSE_S = 3.0
"""Long enough for the lease to be over by the sleeper's clock."""
ROUNDS = 4
RENEW_S = 0.1


async def renew_until(client: Client, lease_id: int, until_s: float) -> None:
    """Keep a lease alive; once a renewal was answered, no later one may find it gone."""
    answered = False
    while time.monotonic() < until_s:
        try:
            response = await client.lease_keep_alive_once(lease_id)
        except ClientError:
            continue
        assert response.TTL > 0 or not answered, "a renewed lease is gone"
        answered = answered or response.TTL > 0
        await asyncio.sleep(RENEW_S)
    assert answered, "nobody renewed the lease"


@pytest.mark.slow
async def test_expiry_by_a_deposed_leader(tmp_path: Path) -> None:
    """Found by the fault runner: the deposed leader sent its successor a revocation."""
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.wait_ready()
        for _ in range(ROUNDS):
            old = cluster.leader()
            others = [one for at, one in enumerate(cluster.endpoints) if at != old]
            async with Client(others, timeout_s=2) as client:
                lease = await client.lease_grant(TTL_S)
                cluster.pause(old)
                paused_at = time.monotonic()
                renewing = asyncio.create_task(
                    renew_until(client, lease.ID, paused_at + PAUSE_S + 1.5)
                )
                try:
                    await asyncio.sleep(PAUSE_S)  # how long the pause is, not a wait for anything
                finally:
                    cluster.resume(old)
                await renewing
