"""`orchestrator up`: start the cluster's daemon, show how far it is, return when it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.cluster import down
from orchestrator.cluster.progress import Progress
from orchestrator.cluster.record import ClusterRecord
from orchestrator.cluster.settings import ClusterSettings

READY_TIMEOUT_S = 120.0
POLL_S = 0.02
LOG_NAME = "orchestrator.log"
LOG_TAIL_LINES = 15


class UpError(Exception):
    """The cluster did not become ready; the message says why and where to look."""


def up(settings: ClusterSettings, progress: Progress) -> ClusterRecord:
    """Start a cluster in the background and give its record once it is ready.

    A cluster that runs already from this data directory is left as it is. What a killed one left
    behind is cleaned up first. Raises UpError.
    """
    record = ClusterRecord.load(settings.data_dir)
    if record is not None:
        if record.daemon.alive() and record.phase == "ready":
            progress.step(f"already running: {record.server}")
            note_ignored(settings, progress)
            return record
        down.down(settings.data_dir, progress)
    earlier = ClusterSettings.load(settings.data_dir)
    if earlier is not None:
        settings = settings.following(earlier)
    settings.save()
    daemon = start_daemon(settings.data_dir)
    try:
        return wait_ready(settings.data_dir, daemon, progress)
    except KeyboardInterrupt:
        progress.step("interrupted: stopping what was started")
        # A daemon this young may have no record yet, by which `down` would find it.
        daemon.terminate()
        daemon.wait()
        down.down(settings.data_dir, progress)
        raise UpError("interrupted; nothing runs") from None


def note_ignored(wanted: ClusterSettings, progress: Progress) -> None:
    """Say which of the wanted settings a running cluster does not have."""
    present = ClusterSettings.load(wanted.data_dir)
    if present is None:
        return
    asked = {"--nodes": "nodes", "--members": "members", "--runtime": "runtime"}
    asked["--etcd-servers"] = "etcd_servers"
    different = [
        flag
        for flag, name in asked.items()
        if getattr(wanted, name) != getattr(present, name) and getattr(wanted, name) != "auto"
    ]
    if different:
        progress.step(f"it stays as it is: {', '.join(different)} count after `orchestrator down`")


def start_daemon(data_dir: Path) -> subprocess.Popen[bytes]:
    """Start the daemon in a session of its own, so that it outlives this terminal."""
    log_path = data_dir / LOG_NAME
    with open(log_path, "ab") as log:
        os.chmod(log_path, 0o600)
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "daemon", "--data-dir", str(data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )


def wait_ready(
    data_dir: Path, daemon: subprocess.Popen[bytes], progress: Progress
) -> ClusterRecord:
    """Show the daemon's steps until it is ready. Raises UpError when it ends or takes too long."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        record = ClusterRecord.load(data_dir)
        if record is not None and record.daemon.pid == daemon.pid:
            progress.step(record.step)
            if record.phase == "ready":
                return record
            if record.phase == "failed":
                daemon.wait()
                raise UpError(f"{record.error}\n{log_tail(data_dir)}")
        if daemon.poll() is not None:
            raise UpError(f"the daemon ended with status {daemon.returncode}\n{log_tail(data_dir)}")
        time.sleep(POLL_S)
    raise UpError(
        f"not ready after {READY_TIMEOUT_S:.0f} s; it goes on in the background\n"
        f"{log_tail(data_dir)}"
    )


def log_tail(data_dir: Path) -> str:
    """The last lines of the daemon's log, under its path."""
    path = data_dir / LOG_NAME
    try:
        lines = path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except FileNotFoundError:
        return ""
    return "\n".join([f"the end of {path}:", *(f"    {line}" for line in lines)])
