"""Read facts about this machine from /proc, /etc and the file system."""

from __future__ import annotations

import os
import platform
import uuid
from pathlib import Path

from orchestrator.images.busybox import architecture
from orchestrator.kubelet.node_status import MachineFacts


def machine_facts(data_dir: Path) -> MachineFacts:
    """Return the machine's facts; `data_dir` names the file system that pods write to."""
    stat = os.statvfs(_existing(data_dir))
    return MachineFacts(
        cpus=os.cpu_count() or 1,
        memory_kib=_memory_kib(),
        storage_kib=stat.f_frsize * stat.f_blocks // 1024,
        machine_id=_read("/etc/machine-id") or f"{uuid.getnode():032x}",
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        os_image=_os_image(),
        architecture=architecture(),
    )


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _memory_kib() -> int:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1])
    return 0


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()
