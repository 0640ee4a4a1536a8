"""Clusters whose members each have a network, an address and a disk of their own.

The process that makes one runs in network and mount namespaces of its own (`enter`): a bridge, one
pair of interfaces a member, and file systems on loop devices whose images lie in a tmpfs. All of it
goes away with the last process in them, so nothing has to be cleaned up outside. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from raftkv.testing.process_cluster import ProcessCluster

__all__ = ["NamespaceCluster", "enter", "missing_facilities"]

PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "nft", "mkfs.ext4", "mount", "fsfreeze")
INSIDE = "RAFTKV_FAULT_RUNNER_INSIDE"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
SUBNET = "10.99.0"
DISK_BYTES = 192 << 20
STUTTER = """
for _ in $(seq "$3"); do
    fsfreeze -f "$1" && { sleep "$2"; fsfreeze -u "$1"; }
    sleep "$2"
done
"""
DYING = ("setpriv", "--pdeathsig", "KILL")
"""A command that begins so ends with the thread that started it."""


def missing_facilities() -> list[str]:
    """Say what this machine lacks for namespaces; empty where nothing."""
    missing = [f"the program {one}" for one in PROGRAMS if not shutil.which(one, path=PATH)]
    if os.geteuid() != 0:
        missing.append("root")
    elif not missing and subprocess.run(_unshare("true"), capture_output=True).returncode:
        missing.append("the permission to make namespaces")
    return missing


def enter(command: Sequence[str]) -> None:
    """Replace this process by `command` in fresh namespaces, unless it is in them already."""
    if os.environ.get(INSIDE) != str(os.getpid()):
        os.environ[INSIDE] = str(os.getpid())
        os.execvp("unshare", _unshare(*command))


def _unshare(*command: str) -> list[str]:
    return ["unshare", "--net", "--mount", "--propagation=private", *command]


class NamespaceCluster(ProcessCluster):
    """A ProcessCluster with an address (10.99.0.1, ...) and a disk of DISK_BYTES a member.

    The caller is 10.99.0.100. `clock_rates` may be changed; a member that starts afterwards has
    clocks that run so much faster than true ones.
    """

    def __init__(self, members: int, directory: Path, flags: Sequence[str] = ()) -> None:
        super().__init__(members, directory, flags)
        self.hosts = [f"{SUBNET}.{number + 1}" for number in range(members)]
        self.client_ports = [2379] * members
        self.peer_ports = [2380] * members
        self.clock_rates = [1.0] * members
        self._holders: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> NamespaceCluster:
        try:
            self._make_network()
            self._make_disks()
            super().__enter__()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._remove()

    def program(self, member: int) -> list[str]:
        """As the parent's, in the member's network, on its clock, ending with this process."""
        rate = self.clock_rates[member]
        module = ["raftkv"] if rate == 1.0 else ["raftkv.testing.skewed_member", str(rate)]
        return [*DYING, *self.inside(member), sys.executable, "-m", *module]

    def inside(self, member: int, *command: str) -> list[str]:
        """Return `command` as it is run in a member's network."""
        return ["nsenter", f"--net=/proc/{self._holders[member].pid}/ns/net", *command]

    def filter(self, member: int, rules: Sequence[str]) -> None:
        """Replace what a member's packet filter does. A rule is `<in|out> <nftables rule>`."""
        lines = [
            "add table inet faults",
            "delete table inet faults",
            "add table inet faults",
            "add chain inet faults in { type filter hook input priority 0; }",
            "add chain inet faults out { type filter hook output priority 0; }",
            *(f"add rule inet faults {rule}" for rule in rules),
        ]
        _run(*self.inside(member, "nft", "-f", "-"), text="\n".join(lines) + "\n")

    def disk(self, member: int) -> Path:
        """Where a member's file system is mounted; its data directory is that."""
        return self.directory / self.names[member]

    def fill_disk(self, member: int) -> None:
        """Leave no byte on a member's disk."""
        with (self.disk(member) / "ballast").open("wb", buffering=0) as ballast:
            block = b"\xff" * (1 << 20)
            while block:
                try:
                    ballast.write(block)
                except OSError:
                    block = block[: len(block) // 2]

    def free_disk(self, member: int) -> None:
        """Undo `fill_disk`."""
        (self.disk(member) / "ballast").unlink(missing_ok=True)

    def stutter_disk(self, member: int, seconds: float, freeze_s: float) -> subprocess.Popen[bytes]:
        """For about `seconds`, let every write of a member wait for `freeze_s`, half of the time.

        What thaws the disk is a process that outlives this one, because nobody can end a process
        that waits for a frozen disk.
        """
        path = str(self.disk(member))
        times = max(1, round(seconds / freeze_s / 2))
        command = ["sh", "-c", STUTTER, "sh", path, f"{freeze_s:.3f}", str(times)]
        return subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)

    def _make_network(self) -> None:
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "members", "type", "bridge")
        _run("ip", "addr", "add", f"{SUBNET}.100/24", "dev", "members")
        _run("ip", "link", "set", "members", "up")
        for member, host in enumerate(self.hosts):
            holder = subprocess.Popen(
                (*DYING, "unshare", "--net", "sh", "-c", "echo; exec sleep infinity"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
            self._holders.append(holder)
            assert holder.stdout is not None
            holder.stdout.readline()  # now it is in its own namespace
            holder.stdout.close()
            link = f"member{member}"
            _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0")
            _run("ip", "link", "set", "eth0", "netns", str(holder.pid))
            _run("ip", "link", "set", link, "master", "members", "up")
            for arguments in ("link set lo up", f"addr add {host}/24 dev eth0", "link set eth0 up"):
                _run(*self.inside(member, "ip", *arguments.split()))

    def _make_disks(self) -> None:
        images = self.directory / "images"
        images.mkdir()
        _run("mount", "-t", "tmpfs", "tmpfs", str(images))
        for member, name in enumerate(self.names):
            image = images / name
            with image.open("wb") as file:
                file.truncate(DISK_BYTES)
            _run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(image))
            self.disk(member).mkdir()
            _run("mount", "-o", "loop", str(image), str(self.disk(member)))

    def _remove(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()
        self._holders.clear()
        for path in (
            *(self.disk(one) for one in range(len(self.names))),
            self.directory / "images",
        ):
            if path.is_mount():
                _run("umount", "--lazy", str(path))
        subprocess.run(["ip", "link", "del", "members"], capture_output=True, check=False)


def _run(*command: str, text: str | None = None) -> None:
    """Run a command that must succeed. Raises RuntimeError with what it said."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
