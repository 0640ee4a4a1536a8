"""Whatever a client is told of a write is so, however often the leader is cut off meanwhile."""

import asyncio
from pathlib import Path

from raftkv.client.client import Client
from raftkv.client.errors import ClientError
from tests.raftkv.e2e.proxied_cluster import ProxiedCluster, Proxy

FLAGS = ["--heartbeat-interval=20", "--election-timeout=200"]

CUTS = 6
WRITERS = 4

NEVER_HAPPENED = "etcdserver: leader changed"
"""The one error at a leader change that promises that nothing was written."""


class Outcomes:
    """What clients were told, by key; every key is written once."""

    def __init__(self) -> None:
        self.told: dict[bytes, str] = {}
        self.stopped = False

    async def write(self, endpoint: str, name: str) -> None:
        """Write one key after the other at one member."""
        number = 0
        async with Client([endpoint]) as client:
            while not self.stopped:
                number += 1
                key = f"{name}-{number:05d}".encode()
                try:
                    await asyncio.wait_for(client.put(key, b"x"), 10)
                    self.told[key] = "ok"
                except ClientError as error:
                    self.told[key] = str(error)
                except TimeoutError:
                    self.told[key] = "no answer"
                await asyncio.sleep(0.005)


async def test_writes_at_all_members_while_leaders_are_cut_off(tmp_path: Path) -> None:
    cluster = ProxiedCluster(3, tmp_path, FLAGS)
    proxies = [
        Proxy(port, target)
        for port, target in zip(cluster.peer_ports, cluster.listen_ports, strict=True)
    ]
    for proxy in proxies:
        await proxy.start()
    try:
        with cluster:
            await asyncio.to_thread(cluster.wait_ready)
            outcomes = Outcomes()
            writers = [
                asyncio.create_task(outcomes.write(cluster.endpoints[number % 3], f"w{number}"))
                for number in range(WRITERS)
            ]
            for _ in range(CUTS):
                leader = await asyncio.to_thread(cluster.leader)
                proxies[leader].cut()
                await asyncio.sleep(0.5)
                proxies[leader].heal()
                await asyncio.sleep(0.3)
            outcomes.stopped = True
            await asyncio.gather(*writers)
            await asyncio.to_thread(cluster.wait_ready)
            for endpoint in cluster.endpoints:
                await check(endpoint, outcomes.told)
    finally:
        for proxy in proxies:
            await proxy.close()


async def check(endpoint: str, told: dict[bytes, str]) -> None:
    """Compare what clients were told with what a member holds."""
    async with Client([endpoint]) as client:
        held = {kv.key: kv.version for kv in (await client.get(b"w", b"x")).kvs}
    assert all(version == 1 for version in held.values()), "a write was done twice"
    acknowledged = {key for key, text in told.items() if text == "ok"}
    assert acknowledged, "nothing was ever written"
    assert acknowledged <= held.keys(), "an acknowledged write was lost"
    refused = {key for key, text in told.items() if NEVER_HAPPENED in text}
    assert not refused & held.keys(), "a write was done that its client was told was not"
