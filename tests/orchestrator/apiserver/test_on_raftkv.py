"""The same server on raftkv: three members, of which the API server may lose any one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from orchestrator.apiserver.server import ApiServer
from raftkv.testing.process_cluster import ProcessCluster
from tests.orchestrator.apiserver.conftest import Rest, StartServer, eventually, tls_of
from tests.orchestrator.apiserver.test_resources import MAPS, config_map
from tests.orchestrator.apiserver.test_watching import revision, watch

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.wait_ready()
        yield cluster


async def test_a_watch_sees_every_object_while_members_die(
    start_server: StartServer, cluster: ProcessCluster
) -> None:
    server: ApiServer = await start_server(etcd_endpoints=tuple(cluster.endpoints))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls_of(server))) as session:
        rest = Rest(session, server.url)
        async with watch(rest, f"resourceVersion={await revision(rest)}") as stream:
            made = []
            for member in range(3):
                cluster.kill(member)
                name = f"while-{member}-is-away"
                await eventually(partial(is_made, rest, name))
                made.append(name)
                await asyncio.to_thread(cluster.start, member)
                await asyncio.to_thread(cluster.wait_ready)
            assert [await stream.short() for _ in made] == [("ADDED", name) for name in made]


async def is_made(rest: Rest, name: str) -> bool:
    """Create an object unless an attempt whose outcome was unknown has done so."""
    code, _ = await rest.call("POST", MAPS, config_map(name))
    return code in (201, 409)
