"""How `kubectl get` shows each kind: columns, and one row of cells per object."""

from __future__ import annotations

from orchestrator.api.printers import cluster, config, network, pod, workload
from orchestrator.api.printers.printer import DEFAULT, Printer

PRINTERS: dict[tuple[str, str], Printer] = {
    **pod.PRINTERS,
    **workload.PRINTERS,
    **cluster.PRINTERS,
    **network.PRINTERS,
    **config.PRINTERS,
}
"""(group, kind) -> printer."""


def printer_of(group: str, kind: str) -> Printer:
    """The kind's printer; NAME and AGE where it has none of its own."""
    return PRINTERS.get((group, kind), DEFAULT)
