"""Cluster IPs and node ports by nftables, on a node that runs real pods. Needs root."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from orchestrator.client.rest_client import RestClient
from orchestrator.proxy.nft_loader import NftError, load
from orchestrator.proxy.nft_rules import NodeNetwork, plan_rules
from orchestrator.proxy.nft_ruleset import Ruleset, change, delete_table, replace_table
from orchestrator.proxy.service_map import ServicePort
from orchestrator.proxy.service_watcher import ServiceWatcher
from orchestrator.runtime.pod_network import IpForward

log = logging.getLogger(__name__)

BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def bridged_packets_bypass_netfilter() -> bool:
    """Return True where packets between two ports of a bridge are not seen by netfilter."""
    try:
        return BRIDGE_NETFILTER.read_text().strip() != "1"
    except OSError:
        return True


class NftProxy:
    """Keeps the node's table equal to the cluster's Services until cancelled, then removes it.

    `directory` is the node's: as long as we run, forwarding is on in its name.
    """

    def __init__(self, client: RestClient, network: NodeNetwork, directory: Path) -> None:
        self._network = network
        self._watcher = ServiceWatcher(client, self._apply)
        self._forward = IpForward(directory)
        self._loaded: Ruleset | None = None

    @property
    def synced(self) -> asyncio.Event:
        """Set once the first rules are in force."""
        return self._watcher.synced

    async def run(self) -> None:
        """Follow the cluster; on the way out take the rules away."""
        self._forward.enable()
        try:
            await self._watcher.run()
        finally:
            await self._remove()

    async def _apply(self, ports: list[ServicePort]) -> None:
        wanted = plan_rules(ports, self._network)
        if self._loaded is None:
            transaction = replace_table(wanted)
        else:
            transaction = change(self._loaded, wanted)
        if not transaction:
            return
        # What is in force is unknown until nft has answered: a failure starts afresh.
        self._loaded = None
        await load(transaction)
        self._loaded = wanted

    async def _remove(self) -> None:
        try:
            await load(delete_table(self._network.table))
        except NftError as error:
            log.warning("cannot remove the table %s: %s", self._network.table, error)
        self._forward.restore()
