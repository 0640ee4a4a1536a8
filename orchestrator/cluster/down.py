"""`orchestrator down`: stop a cluster and leave nothing of it behind."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

from orchestrator import kubeconfig
from orchestrator.cluster.progress import Progress
from orchestrator.cluster.record import ClusterRecord, ProcessId
from orchestrator.cluster.settings import ClusterSettings
from orchestrator.cluster.sweep import sweep

STOP_TIMEOUT_S = 60.0
KILL_TIMEOUT_S = 5.0
POLL_S = 0.05


def down(data_dir: Path, progress: Progress, *, purge: bool = False) -> bool:
    """Stop what runs from `data_dir`; says whether there was anything.

    The daemon stops pods, rules, containerd and the store in order; whatever outlives it, or was
    left by one that was killed, is ended by pid. With `purge` the directory goes too.
    """
    record = ClusterRecord.load(data_dir)
    found = record is not None
    if record is not None:
        stop_daemon(data_dir, record, progress)
        end_processes(list(record.children.values()))
    settings = ClusterSettings.load(data_dir)
    if settings is not None:
        if found:
            progress.step("removing what is left in the kernel")
        sweep(settings)
        authority = data_dir / "apiserver" / "pki" / "ca.crt"
        if authority.exists():
            kubeconfig.remove(settings.kubeconfig, authority.read_bytes())
        found = True
    ClusterRecord.remove(data_dir)
    if purge and settings is not None:
        progress.step(f"removing {data_dir}")
        shutil.rmtree(data_dir)
    return found


def stop_daemon(data_dir: Path, record: ClusterRecord, progress: Progress) -> None:
    """Ask the daemon to stop, show its steps, and kill it when it does not."""
    if not record.daemon.signal(signal.SIGTERM):
        return
    progress.step("stopping")
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while record.daemon.alive():
        current = ClusterRecord.load(data_dir)
        if current is not None:
            progress.step(current.step)
            record.children = current.children
        if time.monotonic() > deadline:
            progress.step(f"the daemon (pid {record.daemon.pid}) does not stop: killing it")
            end_processes([record.daemon])
            return
        time.sleep(POLL_S)


def end_processes(processes: list[ProcessId]) -> None:
    """Terminate, then kill, whichever of these still live."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        signalled = [process.signal(number) for process in processes]
        if not any(signalled):
            return
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while any(process.alive() for process in processes) and time.monotonic() < deadline:
            time.sleep(POLL_S)
