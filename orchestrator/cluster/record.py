"""The cluster's own record on disk: which processes are ours, and how far the start has come.

One JSON file, replaced atomically by the one daemon that owns it and read by the commands. A
process is named by its pid *and* its start time, so that a number that the kernel has given to
somebody else is never signalled.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, dataclass, field
from pathlib import Path

RECORD_NAME = "cluster.json"


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for as long as it lives: pid, and start time in clock ticks since boot."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Name a live process. Raises ProcessLookupError when there is none."""
        ticks = _start_ticks(pid)
        if ticks is None:
            raise ProcessLookupError(pid)
        return cls(pid, ticks)

    def alive(self) -> bool:
        return _start_ticks(self.pid) == self.start_ticks

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; says whether the process was there."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat; None for no process, or one that only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


@dataclass(slots=True)
class ClusterRecord:
    """What a second command needs to know about a running cluster."""

    daemon: ProcessId
    phase: str = "starting"
    """`starting`, `ready`, `stopping` or `failed`."""
    step: str = ""
    """What is being done now, for people."""
    server: str = ""
    context: str = ""
    """The cluster's name in its kubeconfig."""
    etcd_endpoints: list[str] = field(default_factory=list)
    runtime: str = ""
    children: dict[str, ProcessId] = field(default_factory=dict)
    """Name -> process of everything that the daemon started."""
    error: str = ""

    def save(self, data_dir: Path) -> None:
        path = data_dir / RECORD_NAME
        partial = path.with_suffix(".new")
        partial.write_text(json.dumps(asdict(self), indent=2))
        partial.chmod(0o600)
        partial.replace(path)

    @classmethod
    def load(cls, data_dir: Path) -> ClusterRecord | None:
        """Read the record; None where no cluster was started from this directory."""
        try:
            values = json.loads((data_dir / RECORD_NAME).read_text())
        except FileNotFoundError:
            return None
        values["daemon"] = ProcessId(**values["daemon"])
        values["children"] = {name: ProcessId(**p) for name, p in values["children"].items()}
        return cls(**values)

    @staticmethod
    def remove(data_dir: Path) -> None:
        (data_dir / RECORD_NAME).unlink(missing_ok=True)
