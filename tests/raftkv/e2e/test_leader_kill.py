"""A leader that dies costs seconds, never an acknowledged write."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from raftkv.client import Client, ClientError
from raftkv.testing.process_cluster import ProcessCluster

KILLS = 10
RESUME_MAX_S = 3.0
WRITE_PAUSE_S = 0.002
PAGE = 5000


@dataclass
class Writer:
    """Puts one new key after another; a put whose outcome is unknown is not repeated."""

    number: int
    acknowledged: list[bytes] = field(default_factory=list)
    acknowledged_at: list[float] = field(default_factory=list)
    """When each acknowledged put began."""
    failed: int = 0

    async def run(self, endpoints: list[str], stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        turned = endpoints[self.number :] + endpoints[: self.number]
        async with Client(turned, timeout_s=5) as client:
            attempt = 0
            while not stop.is_set():
                attempt += 1
                key = b"writer/%d/%08d" % (self.number, attempt)
                began = loop.time()
                try:
                    await client.put(key, b"%d" % attempt)
                except ClientError:
                    self.failed += 1
                else:
                    self.acknowledged.append(key)
                    self.acknowledged_at.append(began)
                await asyncio.sleep(WRITE_PAUSE_S)


async def keys_at(endpoint: str) -> set[bytes]:
    """Return all keys that one member holds, level with what was acknowledged anywhere."""
    found: set[bytes] = set()
    key = b"writer/"
    async with Client([endpoint]) as client:
        while True:
            page = await client.get(key, b"writer0", limit=PAGE)
            found.update(kv.key for kv in page.kvs)
            if not page.more:
                return found
            key = page.kvs[-1].key + b"\0"


async def resumed_after(writers: list[Writer], killed_at: float) -> float:
    """Return the seconds until a put that began after the kill was acknowledged."""
    loop = asyncio.get_running_loop()
    while True:
        for writer in writers:
            if writer.acknowledged_at and writer.acknowledged_at[-1] > killed_at:
                return loop.time() - killed_at
        assert loop.time() - killed_at < 30, "writes did not resume"
        await asyncio.sleep(0.005)


@pytest.mark.slow
async def test_no_acknowledged_write_is_lost_when_leaders_die(tmp_path: Path) -> None:
    """Ten times over: kill -9 the leader under steady writers, restart it, let it catch up."""
    loop = asyncio.get_running_loop()
    writers = [Writer(number) for number in range(3)]
    stop = asyncio.Event()
    pauses = []
    with ProcessCluster(3, tmp_path, ["--log-level=warn"]) as cluster:
        await asyncio.to_thread(cluster.wait_ready)
        async with asyncio.TaskGroup() as group:
            for writer in writers:
                group.create_task(writer.run(cluster.endpoints, stop))
            for _ in range(KILLS):
                leader = await asyncio.to_thread(cluster.leader)
                killed_at = loop.time()
                cluster.kill(leader)
                pauses.append(await resumed_after(writers, killed_at))
                cluster.start(leader)
                await asyncio.to_thread(cluster.wait_ready)
            stop.set()
        acknowledged = {key for writer in writers for key in writer.acknowledged}
        for endpoint in cluster.endpoints:
            missing = acknowledged - await keys_at(endpoint)
            assert not missing, f"{len(missing)} acknowledged writes are lost at {endpoint}"
    print(
        f"pauses {[f'{pause:.2f}' for pause in pauses]} s, "
        f"{len(acknowledged)} acknowledged, {sum(w.failed for w in writers)} failed"
    )
    assert len(acknowledged) > 100
    assert max(pauses) < RESUME_MAX_S
