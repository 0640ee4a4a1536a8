"""The relay without root: round robin, following changes, and what it refuses."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from orchestrator.client.config import ClientConfig
from orchestrator.client.rest_client import RestClient
from orchestrator.proxy.service_map import Endpoint, ServicePort
from orchestrator.proxy.userspace import UserspaceProxy
from raftkv.testing.ports import free_port

CLUSTER_IP = "127.96.77.10"


class Backend:
    """Answers every connection with its name and what it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()

    async def start(self) -> Endpoint:
        self.server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return Endpoint("127.0.0.1", self.server.sockets[0].getsockname()[1])

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(self.name + b":" + data)
        writer.close()

    async def stop(self) -> None:
        self.server.close()
        await self.server.wait_closed()


async def fetch(port: int, host: str = CLUSTER_IP) -> str:
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"hi")
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer.decode()
    except OSError as error:
        return type(error).__name__


@pytest.fixture
async def proxy() -> AsyncIterator[UserspaceProxy]:
    async with RestClient(ClientConfig("http://127.0.0.1:1")) as client:
        proxy = UserspaceProxy(client)
        yield proxy
        await proxy.apply([])


@pytest.fixture
async def backends() -> AsyncIterator[list[Endpoint]]:
    servers = [Backend("a"), Backend("b")]
    yield [await server.start() for server in servers]
    for server in servers:
        await server.stop()


def service(port: int, *endpoints: Endpoint, **more: object) -> ServicePort:
    values = {"protocol": "TCP", "cluster_ip": CLUSTER_IP, **more}
    return ServicePort("default", "web", "", port=port, endpoints=endpoints, **values)  # type: ignore[arg-type]


async def test_connections_take_turns_and_follow_changes(
    proxy: UserspaceProxy, backends: list[Endpoint]
) -> None:
    port, node_port = free_port(CLUSTER_IP), free_port(CLUSTER_IP)
    await proxy.apply([service(port, *backends, node_port=node_port)])
    answers = Counter([await fetch(port) for _ in range(6)])
    assert answers == {"a:hi": 3, "b:hi": 3}
    assert (await fetch(node_port, "127.0.0.1")).endswith(":hi")
    await proxy.apply([service(port, backends[1])])
    assert [await fetch(port) for _ in range(3)] == ["b:hi"] * 3
    assert await fetch(node_port, "127.0.0.1") == "ConnectionRefusedError"
    await proxy.apply([])
    assert await fetch(port) == "ConnectionRefusedError"


async def test_a_dead_endpoint_is_passed_over(
    proxy: UserspaceProxy, backends: list[Endpoint]
) -> None:
    port = free_port(CLUSTER_IP)
    dead = Endpoint(CLUSTER_IP, free_port(CLUSTER_IP))
    await proxy.apply([service(port, dead, backends[0])])
    assert [await fetch(port) for _ in range(4)] == ["a:hi"] * 4


async def test_without_endpoints_connections_are_reset(proxy: UserspaceProxy) -> None:
    port = free_port(CLUSTER_IP)
    await proxy.apply([service(port)])
    assert await fetch(port) in ("ConnectionResetError", "")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"protocol": "UDP"}, "UDP needs the nftables proxy"),
        ({"cluster_ip": "10.96.0.1"}, "no loopback address"),
    ],
)
async def test_what_it_cannot_do_is_logged_once(
    proxy: UserspaceProxy,
    caplog: pytest.LogCaptureFixture,
    more: dict[str, object],
    text: str,
) -> None:
    refused = service(free_port(CLUSTER_IP), **more)
    with caplog.at_level(logging.WARNING):
        await proxy.apply([refused])
        await proxy.apply([refused])
    assert [text in record.getMessage() for record in caplog.records] == [True]
