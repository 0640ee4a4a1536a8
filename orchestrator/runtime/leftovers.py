"""Clear what a containerd that did not end well leaves behind: processes, mounts, cgroups.

Everything is found by the paths of one layout, never by a program's name alone, so that no
other containerd on the machine is touched. Blocking; takes milliseconds where there is nothing.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from orchestrator.runtime.containerd_config import ContainerdLayout

CGROUP_ROOT = Path("/sys/fs/cgroup")

CNI_RESULTS = Path("/var/lib/cni/results")

SHARED_DIRECTORIES = (
    Path("/run/containerd/s"),
    Path("/run/containerd"),
    CNI_RESULTS,
    CNI_RESULTS.parent,
)
"""Where shims and CNI put things whatever they are told; removed where nobody's thing is left."""

KILL_TIMEOUT_MS = 5_000

_MNT_DETACH = 2
_OCTAL = re.compile(r"\\([0-7]{3})")


def clear(layout: ContainerdLayout) -> None:
    """Kill our containerd, shims and containers; unmount; remove cgroups and the run directory."""
    bundles = _bundles(layout)
    _kill(processes_of(layout))
    for bundle in bundles:
        _remove_outside(bundle)
    for mount in mounts_below(layout.directory, layout.run):
        _unmount(mount)
    for directory in cgroups_of(layout):
        with suppress(OSError):
            directory.rmdir()
    shutil.rmtree(layout.run, ignore_errors=True)
    # CNI's record of addresses: no pod is left that could hold one.
    shutil.rmtree(layout.cni_leases, ignore_errors=True)
    for directory in SHARED_DIRECTORIES:
        with suppress(OSError):
            directory.rmdir()


def _bundles(layout: ContainerdLayout) -> list[Path]:
    """Return the shims' directories, one a container; its name is the container's id."""
    return list((layout.state / "io.containerd.runtime.v2.task" / "k8s.io").glob("*"))


def _remove_outside(bundle: Path) -> None:
    """Remove what a container that did not end in order has outside of our directories."""
    with suppress(OSError):
        address = (bundle / "address").read_text().strip()
        Path(address.removeprefix("unix://")).unlink(missing_ok=True)
    for result in CNI_RESULTS.glob(f"*-{bundle.name}-*"):
        with suppress(OSError):
            result.unlink()


def processes_of(layout: ContainerdLayout) -> list[int]:
    """Return containerd and shims by the paths in their command lines, and containers by cgroup."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # ended while we looked
        program = os.path.basename(words[0])
        ours = {str(layout.socket).encode(), str(layout.config).encode()}
        if program.startswith(b"containerd") and ours & set(words):
            found.append(int(entry.name))
    for directory in cgroups_of(layout):
        with suppress(OSError):
            found += map(int, (directory / "cgroup.procs").read_text().split())
    return sorted(set(found))


def cgroups_of(layout: ContainerdLayout) -> list[Path]:
    """Return our cgroup directories in every hierarchy, children before parents."""
    name = layout.cgroup.lstrip("/")
    tops = [CGROUP_ROOT / name]
    if CGROUP_ROOT.is_dir():
        tops += [hierarchy / name for hierarchy in CGROUP_ROOT.iterdir() if hierarchy.is_dir()]
    found = []
    for top in tops:
        if top.is_dir():
            found += [Path(path) for path, _, _ in os.walk(top, topdown=False)]
    return found


def mounts_below(*directories: Path) -> list[str]:
    """Return the mount points at or below the directories, the latest first."""
    prefixes = tuple(f"{directory.absolute()}/" for directory in directories)
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), line.split()[4])
        if f"{point}/".startswith(prefixes):
            found.append(point)
    return found[::-1]


def _kill(pids: list[int]) -> None:
    """SIGKILL the processes and wait until they are gone, `KILL_TIMEOUT_MS` each at most."""
    handles = []
    for pid in pids:
        with suppress(ProcessLookupError):
            handles.append(os.pidfd_open(pid))
    for handle in handles:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    for handle in handles:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll(KILL_TIMEOUT_MS)
        os.close(handle)


def _unmount(point: str) -> None:
    """Detach a mount at once, also while something still looks at it (umount2(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.umount2(point.encode(), _MNT_DETACH)
