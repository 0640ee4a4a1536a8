"""The ruleset does what Services promise, in a network namespace of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.proxy.nft_rules import NodeNetwork, plan_rules
from orchestrator.proxy.nft_ruleset import Ruleset, change, delete_table, replace_table
from orchestrator.proxy.service_map import Endpoint, ServicePort, service_ports

NETWORK = NodeNetwork(cluster_cidr="10.244.0.0/16", node_name="n1")
WEB = ServicePort("default", "web", "http", "TCP", "10.96.0.10", 80)


def endpoints(*hosts: int) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(f"10.244.1.{host}", 8080, "n1") for host in hosts)


def service(name: str = "web", **spec: object) -> dict[str, object]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": "10.96.0.10", "ports": ports, **spec},
    }


def endpoint_slice(*rows: dict[str, object]) -> dict[str, object]:
    return {
        "metadata": {
            "namespace": "default",
            "name": "web-1",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(rows),
    }


def row(ip: str, **conditions: bool) -> dict[str, object]:
    return {"addresses": [ip], "conditions": conditions, "nodeName": "n1"}


def test_only_ready_endpoints_count_while_there_are_some() -> None:
    rows = [row("10.244.1.2", ready=True), row("10.244.1.3", ready=False), row("10.244.1.4")]
    (port,) = service_ports([service()], [endpoint_slice(*rows)])
    assert [e.ip for e in port.endpoints] == ["10.244.1.2", "10.244.1.4"]


def test_terminating_endpoints_serve_when_nothing_else_does() -> None:
    leaving = row("10.244.1.3", ready=False, serving=True, terminating=True)
    (port,) = service_ports([service()], [endpoint_slice(leaving, row("10.244.1.4", ready=False))])
    assert [e.ip for e in port.endpoints] == ["10.244.1.3"]


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName"}])
def test_services_without_an_address_have_no_ports(spec: dict[str, Any]) -> None:
    assert service_ports([service(**spec)], []) == []


def test_session_affinity_takes_its_timeout() -> None:
    (port,) = service_ports([service(sessionAffinity="ClientIP")], [])
    assert port.affinity_timeout_s == 10_800


def test_other_links_do_not_lead_to_the_gateway(namespace: Namespace) -> None:
    """What listens on the pods' gateway is for pods: a packet for it from elsewhere is dropped."""
    namespace.load(replace_table(plan_rules([], NETWORK)))
    chain = plan_rules([], NETWORK).chains["filter-input"]
    assert 'iif != "lo" ip daddr 10.244.0.0/16 fib daddr . iif type != local drop' in chain.rules


def test_nothing_changes_where_nothing_differs() -> None:
    rules = plan_rules([WEB], NETWORK)
    assert change(rules, plan_rules([WEB], NETWORK)) == ""


def test_a_change_leaves_other_services_alone() -> None:
    other = ServicePort("default", "other", "", "TCP", "10.96.0.11", 80, endpoints=endpoints(9))
    before = plan_rules([other, replace_endpoints(WEB, 2)], NETWORK)
    after = plan_rules([other, replace_endpoints(WEB, 2, 3)], NETWORK)
    assert "10.96.0.11" not in change(before, after)
    assert "10.244.1.9" not in change(before, after)


def replace_endpoints(port: ServicePort, *hosts: int, **more: object) -> ServicePort:
    values = {name: getattr(port, name) for name in ServicePort.__dataclass_fields__}
    return ServicePort(**{**values, "endpoints": endpoints(*hosts), **more})


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") is None,
    reason="needs root and nft",
)


class Namespace:
    """A node in a namespace of its own, with 'pods' as addresses of a link."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", _SETUP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            self.close()
            pytest.fail("the namespace could not be set up")

    def _run(self, *command: str, data: str = "") -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *command]
        return subprocess.run(enter, input=data, capture_output=True, text=True, timeout=30)

    def load(self, transaction: str) -> None:
        done = self._run("nft", "-f", "-", data=transaction)
        assert done.returncode == 0, done.stderr + transaction

    def fetch(self, address: str, times: int = 1) -> Counter[str]:
        """Connect `times` times; count the answers, or the names of the errors."""
        done = self._run(sys.executable, "-c", _FETCH, address, str(times))
        assert done.returncode == 0, done.stderr
        return Counter(done.stdout.split())

    def tables(self) -> str:
        return self._run("nft", "list", "tables").stdout

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process.stdout.close()


_SETUP = """
import asyncio, sys
from pyroute2 import IPRoute
with IPRoute() as ip:
    ip.link('set', index=1, state='up')
    ip.link('add', ifname='pods', kind='veth', peer='pods-end')
    ip.link('set', index=ip.link_lookup(ifname='pods-end')[0], state='up')
    index = ip.link_lookup(ifname='pods')[0]
    for host in (1, 2, 3):
        ip.addr('add', index=index, address=f'10.244.1.{host}', prefixlen=24)
    ip.link('set', index=index, state='up')
    ip.link('add', ifname='uplink', kind='veth', peer='uplink-end')
    ip.link('set', index=ip.link_lookup(ifname='uplink-end')[0], state='up')
    index = ip.link_lookup(ifname='uplink')[0]
    ip.addr('add', index=index, address='192.168.50.1', prefixlen=24)
    ip.link('set', index=index, state='up')
    ip.route('add', dst='default', gateway='192.168.50.254')
async def main():
    for host in (2, 3):
        async def serve(reader, writer, host=host):
            writer.write(str(host).encode())
            writer.close()
        await asyncio.start_server(serve, f'10.244.1.{host}', 8080)
    print('ready', flush=True)
    await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""

_FETCH = """
import socket, sys
host, _, port = sys.argv[1].partition(':')
for _ in range(int(sys.argv[2])):
    try:
        with socket.create_connection((host, int(port)), timeout=2) as s:
            print(s.recv(10).decode())
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    namespace = Namespace()
    yield namespace
    namespace.close()


@pytest.mark.root
@needs_root
def test_a_cluster_ip_reaches_every_endpoint_and_follows_changes(namespace: Namespace) -> None:
    port = replace_endpoints(WEB, 2, 3, node_port=30080)
    rules = plan_rules([port], NETWORK)
    namespace.load(replace_table(rules))
    assert namespace.fetch("10.96.0.10:80", 30).keys() == {"2", "3"}
    assert namespace.fetch("192.168.50.1:30080", 30).keys() == {"2", "3"}
    fewer = plan_rules([replace_endpoints(port, 3)], NETWORK)
    namespace.load(change(rules, fewer))
    assert namespace.fetch("10.96.0.10:80", 10) == {"3": 10}
    none = plan_rules([replace_endpoints(port)], NETWORK)
    namespace.load(change(fewer, none))
    assert namespace.fetch("10.96.0.10:80") == {"ConnectionRefusedError": 1}
    assert namespace.fetch("192.168.50.1:30080") == {"ConnectionRefusedError": 1}
    namespace.load(change(none, plan_rules([], NETWORK)))
    namespace.load(delete_table(NETWORK.table))
    assert NETWORK.table not in namespace.tables()


@pytest.mark.root
@needs_root
def test_a_port_that_no_service_has_is_refused(namespace: Namespace) -> None:
    namespace.load(replace_table(plan_rules([replace_endpoints(WEB, 2)], NETWORK)))
    assert namespace.fetch("10.96.0.10:81") == {"ConnectionRefusedError": 1}


@pytest.mark.root
@needs_root
def test_a_sticky_client_stays_through_changes(namespace: Namespace) -> None:
    sticky = replace_endpoints(WEB, 2, 3, affinity_timeout_s=600)
    rules = plan_rules([sticky], NETWORK)
    namespace.load(replace_table(rules))
    (first,) = namespace.fetch("10.96.0.10:80", 20)
    other = ServicePort("default", "other", "", "TCP", "10.96.0.11", 80, endpoints=endpoints(2))
    namespace.load(change(rules, plan_rules([sticky, other], NETWORK)))
    assert namespace.fetch("10.96.0.10:80", 20) == {first: 20}


@pytest.mark.root
@needs_root
def test_replacing_a_table_forgets_what_was_there(namespace: Namespace) -> None:
    namespace.load(replace_table(Ruleset(NETWORK.table)))
    namespace.load(replace_table(plan_rules([replace_endpoints(WEB, 2)], NETWORK)))
    assert namespace.fetch("10.96.0.10:80") == {"2": 1}
