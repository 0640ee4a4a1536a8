"""A Docker daemon in a network namespace of its own, and the base image that our Dockerfile takes.

Published ports, bridges and packet filter rules of the daemon stay in the namespace; outside are
only one pair of interfaces and one nftables table, for builds to reach package registries. All of
it is removed at the end. Needs root.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from orchestrator.runtime.pod_network import IpForward

__all__ = ["BASE", "DockerHost", "missing_facilities"]

PROGRAMS = (
    "dockerd",
    "docker",
    "docker-compose",
    "debootstrap",
    "nsenter",
    "ip",
    "nft",
    "iptables",
)
PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
START_TIMEOUT_S = 60.0
BASE = "local/python:bookworm"
"""What the Debian base image is tagged as: no registry is asked for it."""
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
CACHE = Path(__file__).resolve().parents[2] / ".stamps" / "containers"
"""Where the base image's files stay for a week: making them takes a minute."""


def missing_facilities() -> list[str]:
    """Say what this machine lacks for it; empty where nothing."""
    missing = [f"the program {one}" for one in PROGRAMS if not shutil.which(one, path=PATH)]
    return missing if os.geteuid() == 0 else [*missing, "root"]


class DockerHost:
    """The daemon and its network, from `__enter__` to `__exit__`."""

    def __init__(self, directory: Path, subnet: str = "10.98.7") -> None:
        self.directory = directory
        self._subnet = subnet
        self._name = f"dock{os.getpid()}"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._forwarding = IpForward(directory)

    def __enter__(self) -> DockerHost:
        try:
            self._make_network()
            self._start()
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
        self._remove()

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs so that it finds this daemon and Debian's clients of it."""
        return {
            **os.environ,
            "PATH": f"{PATH}:{os.environ.get('PATH', '')}",
            "DOCKER_HOST": f"unix://{self.directory / 'docker.sock'}",
            "DOCKER_BUILDKIT": "0",
        }

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return `command` as it is run in the daemon's network, where ports are published."""
        return ["nsenter", f"--net=/run/netns/{self._name}", "--", *command]

    def run(self, *command: str, timeout_s: float = 120.0) -> str:
        """Run a command there and return what it printed. Raises RuntimeError with its errors."""
        done = subprocess.run(
            self.inside(command),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def make_base(self) -> str:
        """Make a Debian image with Python and this machine's CA certificates; returns its name."""
        archive = self._base_archive()
        change = f"ENV PIP_CERT={CERTIFICATES}"
        self._host("docker", "import", "--change", change, str(archive), BASE)
        return BASE

    def _base_archive(self) -> Path:
        """Return the image's files, packed: those of an earlier run, if it was not long ago."""
        certificates = Path(CERTIFICATES).read_bytes()
        year, week, _ = datetime.date.today().isocalendar()
        wanted = f"{SUITE} {PACKAGES} {year} {week}".encode() + certificates
        archive = CACHE / f"base-{hashlib.sha256(wanted).hexdigest()[:16]}.tar"
        if archive.exists():
            return archive
        root = self.directory / "base"
        self._host("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root))
        (root / CERTIFICATES.lstrip("/")).write_bytes(certificates)
        shutil.rmtree(root / "var/cache/apt/archives")
        CACHE.mkdir(parents=True, exist_ok=True)
        for old in CACHE.glob("base-*"):
            old.unlink()
        draft = archive.with_suffix(f".{os.getpid()}")
        self._host("tar", "-C", str(root), "-cf", str(draft), ".")
        draft.rename(archive)
        shutil.rmtree(root)
        return archive

    def _start(self) -> None:
        with (self.directory / "dockerd.log").open("wb") as log:
            self._daemon = subprocess.Popen(
                self.inside(
                    (
                        "dockerd",
                        f"--data-root={self.directory / 'data'}",
                        f"--exec-root={self.directory / 'run'}",
                        f"--pidfile={self.directory / 'pid'}",
                        f"--host=unix://{self.directory / 'docker.sock'}",
                    )
                ),
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.run("docker", "version")
                return
            except RuntimeError:
                if self._daemon.poll() is not None or time.monotonic() > deadline:
                    text = (self.directory / "dockerd.log").read_text()[-2000:]
                    raise RuntimeError(f"dockerd did not start: {text}") from None
                time.sleep(0.1)

    def _make_network(self) -> None:
        name, host, guest = self._name, f"{self._subnet}.1", f"{self._subnet}.2"
        self._host("ip", "netns", "add", name)
        self._host("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        self._host("ip", "addr", "add", f"{host}/24", "dev", name)
        self._host("ip", "link", "set", name, "up")
        for arguments in (
            "link set lo up",
            f"addr add {guest}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {host}",
        ):
            self._host("ip", "-n", name, *arguments.split())
        self._forwarding.enable()
        rules = "\n".join(
            (
                f"add table ip {name}",
                f"add chain ip {name} post {{ type nat hook postrouting priority 100 ; }}",
                f"add rule ip {name} post ip saddr {self._subnet}.0/24 masquerade",
            )
        )
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, env=self.environment, check=True)

    def _remove(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(60)
        quiet = {
            "env": self.environment,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        for command in (
            ["nft", "delete", "table", "ip", self._name],
            ["ip", "link", "del", self._name],
            ["ip", "netns", "del", self._name],
        ):
            subprocess.run(command, check=False, **quiet)  # type: ignore[call-overload]
        self._forwarding.restore()
        shutil.rmtree(self.directory / "data", ignore_errors=True)

    def _host(self, *command: str) -> None:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-500:]}{done.stderr[-500:]}")
