"""Several clusters on one machine: each has a network of its own, and shares switches fairly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cluster import network
from orchestrator.cluster.network import NetworkTakenError, claim_network
from orchestrator.cluster.settings import ClusterSettings, SettingsError
from orchestrator.proxy.nft_rules import table_name
from orchestrator.runtime.pod_network import IpForward

HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def route(link: str, destination: str, mask: str) -> str:
    return f"{link}\t{destination}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n"


def settings(directory: Path, runtime: str = "auto") -> ClusterSettings:
    return ClusterSettings(data_dir=directory, kubeconfig=directory / "k", runtime=runtime)


def test_no_two_claims_are_one_network() -> None:
    first = claim_network(None, loopback=True)
    second = claim_network(None, loopback=True)
    try:
        assert first.number != second.number
        with pytest.raises(NetworkTakenError, match=r"another cluster.*--purge"):
            claim_network(first.number, loopback=True)
    finally:
        first.close()
        second.close()
    again = claim_network(first.number, loopback=True)
    again.close()


def test_a_network_that_the_machine_reaches_already_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10.244.0.0/24 through a VPN rules out the first network, its Services' routes too."""
    routes = tmp_path / "route"
    monkeypatch.setattr(network, "ROUTES", routes)
    default = route("eth0", "00000000", "00000000")
    routes.write_text(HEADER + default + route("tun0", "0000F40A", "00FFFFFF"))
    claim = claim_network(None, loopback=False)
    claim.close()
    assert claim.number > 0
    with pytest.raises(NetworkTakenError, match="through tun0"):
        claim_network(0, loopback=False)
    routes.write_text(HEADER + route("tun0", "0000610A", "0000FFFF"))
    with pytest.raises(NetworkTakenError, match=r"10\.97\.0\.0/16"):
        claim_network(1, loopback=False, own_link="orc0")


def test_networks_do_not_overlap() -> None:
    for loopback in (True, False):
        cidrs = [network.cluster_cidr(n, loopback=loopback) for n in range(network.NETWORKS_MAX)]
        cidrs += [network.service_cidr(n, loopback=loopback) for n in range(network.NETWORKS_MAX)]
        assert len(set(cidrs)) == 2 * network.NETWORKS_MAX


def test_a_second_start_keeps_network_and_runtime(tmp_path: Path) -> None:
    earlier = replace(settings(tmp_path, "containerd"), network=3)
    earlier.save()
    loaded = ClusterSettings.load(tmp_path)
    assert loaded == earlier
    again = settings(tmp_path).following(earlier)
    assert (again.runtime, again.network) == ("containerd", 3)
    assert again.service_cidr == "10.99.0.0/16"
    with pytest.raises(SettingsError, match=r"--runtime process.*--purge"):
        settings(tmp_path, "process").following(earlier)


def test_tables_are_named_by_the_data_directory() -> None:
    assert table_name("/a") != table_name("/b")


def test_forwarding_is_restored_by_its_last_user(tmp_path: Path) -> None:
    """The first cluster to stop must not cut off the pods of the other."""
    switch, users = tmp_path / "ip_forward", tmp_path / "users"
    switch.write_text("0")
    nodes = [tmp_path / name for name in ("a", "b", "c")]
    owners = []
    for node in nodes:
        node.mkdir()
        owners.append(IpForward(node, switch, users))
        owners[-1].enable()
    owners[0].enable()
    owners[0].restore()
    assert switch.read_text() == "1"
    nodes[2].rmdir()  # its cluster was removed by hand: it waits for nobody
    owners[1].restore()
    assert switch.read_text() == "0"
    assert not users.exists()
    owners[1].restore()
    assert switch.read_text() == "0"
