"""Taking away what a killed cluster left in the kernel: mounts, links, rules, cgroups."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from orchestrator.cluster.settings import ClusterSettings
from orchestrator.proxy.nft_loader import NftError, load
from orchestrator.proxy.nft_rules import table_name
from orchestrator.proxy.nft_ruleset import delete_table
from orchestrator.runtime.containerd_daemon import ContainerdDaemon
from orchestrator.runtime.pod_network import IpForward


def sweep(settings: ClusterSettings) -> None:
    """Remove whatever of this cluster is still there; finding nothing is the usual case.

    Only root can have made any of it. Blocking; milliseconds where there is nothing.
    """
    if os.geteuid() != 0:
        return
    ContainerdDaemon(settings.data_dir / "containerd").clear()
    with suppress(NftError):
        asyncio.run(load(delete_table(table_name(str(settings.data_dir)))))
    IpForward(settings.data_dir).restore()
