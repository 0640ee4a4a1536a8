"""Services: cluster addresses and node ports have one owner each, and come back."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import aiohttp
import pytest

from orchestrator.apiserver.server import ApiServer
from tests.orchestrator.apiserver.conftest import Rest, StartServer, tls_of

SERVICES = "/api/v1/namespaces/default/services"
MERGE = "application/merge-patch+json"


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def address(obj: Any) -> str:
    found: str = obj["spec"]["clusterIP"]
    return found


def node_port(obj: Any) -> int:
    found: int = obj["spec"]["ports"][0]["nodePort"]
    return found


async def test_bootstrap_makes_the_service_of_the_server(rest: Rest, server: ApiServer) -> None:
    _, kubernetes = await rest.get(f"{SERVICES}/kubernetes")
    assert address(kubernetes) == "10.96.0.1"
    _, endpoints = await rest.get("/api/v1/namespaces/default/endpoints/kubernetes")
    assert endpoints["subsets"][0]["ports"][0]["port"] == server.port


async def test_addresses_are_distinct_and_in_the_network(rest: Rest) -> None:
    made = await asyncio.gather(*(rest.make(SERVICES, service(f"s{i}")) for i in range(20)))
    addresses = {address(one) for one in made}
    assert len(addresses) == 20
    network = ipaddress.ip_network("10.96.0.0/12")
    assert all(ipaddress.ip_address(one) in network for one in addresses)
    assert made[0]["spec"]["clusterIPs"] == [address(made[0])]


async def test_an_asked_address_is_given_once_and_comes_back(rest: Rest) -> None:
    asked = service("a", clusterIP="10.96.0.10")
    assert address(await rest.make(SERVICES, asked)) == "10.96.0.10"
    again = service("b", clusterIP="10.96.0.10")
    code, status = await rest.call("POST", SERVICES, again)
    assert code == 422
    assert "provided IP is already allocated" in status["message"]
    assert (await rest.call("DELETE", f"{SERVICES}/a"))[0] == 200
    assert address(await rest.make(SERVICES, again)) == "10.96.0.10"
    outside = service("c", clusterIP="192.168.0.1")
    code, status = await rest.call("POST", SERVICES, outside)
    assert code == 422
    assert "The range of valid IPs is 10.96.0.0/12" in status["message"]


async def test_an_address_survives_updates(rest: Rest) -> None:
    made = await rest.make(SERVICES, service("a"))
    bare = service("a")
    bare["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    bare["spec"]["ports"] = [{"port": 81}]
    code, replaced = await rest.call("PUT", f"{SERVICES}/a", bare)
    assert code == 200, replaced
    assert address(replaced) == address(made)


async def test_headless_and_external_services_have_none(rest: Rest) -> None:
    headless = await rest.make(SERVICES, service("h", clusterIP="None"))
    assert headless["spec"]["clusterIPs"] == ["None"]
    external = await rest.make(
        SERVICES, {"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "x"}}
    )
    assert "clusterIP" not in external["spec"]


async def test_node_ports_follow_the_type(rest: Rest) -> None:
    made = await rest.make(SERVICES, service("a", type="NodePort"))
    assert 30000 <= node_port(made) <= 32767
    ports = [{"port": 80, "nodePort": 30080}]
    await rest.make(SERVICES, service("b", type="NodePort", ports=ports))
    code, status = await rest.call("POST", SERVICES, service("c", type="NodePort", ports=ports))
    assert code == 422
    assert "spec.ports[0].nodePort: Invalid value: 30080" in status["message"]
    assert "provided port is already allocated" in status["message"]
    patch = {"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}}
    code, plain = await rest.call("PATCH", f"{SERVICES}/b", patch, content_type=MERGE)
    assert code == 200, plain
    assert "nodePort" not in plain["spec"]["ports"][0]
    freed = await rest.make(SERVICES, service("c", type="NodePort", ports=ports))
    assert node_port(freed) == 30080
    far = [{"port": 80, "nodePort": 80}]
    code, status = await rest.call("POST", SERVICES, service("d", type="NodePort", ports=far))
    assert code == 422
    assert "The range of valid ports is 30000-32767" in status["message"]


async def test_a_full_range_says_so(start_server: StartServer) -> None:
    server: ApiServer = await start_server(node_port_first=31000, node_port_last=31002)
    connector = aiohttp.TCPConnector(ssl=tls_of(server))
    async with aiohttp.ClientSession(connector=connector) as session:
        rest = Rest(session, server.url)
        made = [await rest.make(SERVICES, service(f"s{i}", type="NodePort")) for i in range(3)]
        assert {node_port(one) for one in made} == {31000, 31001, 31002}
        code, status = await rest.call("POST", SERVICES, service("more", type="NodePort"))
        assert code == 500
        assert "range is full" in status["message"]
        # The refused Service kept nothing: its address is free and its name too.
        assert (await rest.get(f"{SERVICES}/more"))[0] == 404


@pytest.mark.parametrize("protocols", [("TCP", "UDP")])
async def test_protocols_of_one_port_share_a_node_port(
    rest: Rest, protocols: tuple[str, ...]
) -> None:
    ports = [{"name": p.lower(), "port": 53, "protocol": p} for p in protocols]
    made = await rest.make(SERVICES, service("dns", type="NodePort", ports=ports))
    assert len({row["nodePort"] for row in made["spec"]["ports"]}) == 1
