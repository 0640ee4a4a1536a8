"""Clusters as a person starts them: the command `orchestrator`, and stock kubectl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
UP_TIMEOUT_S = 120
DOWN_TIMEOUT_S = 90
COMMAND_TIMEOUT_S = 60
POLL_S = 0.1

CONTAINERD_MISSING = [
    what
    for what, there in (
        ("root", os.geteuid() == 0),
        ("containerd", shutil.which("containerd") is not None),
        ("nft", shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is not None),
        (
            "CNI plugins",
            Path("/usr/lib/cni/bridge").exists() or Path("/opt/cni/bin/bridge").exists(),
        ),
    )
    if not there
]
"""What real containers lack on this machine; empty where they can run."""


def kubectls() -> list[str]:
    """Every stock kubectl here: the package's (1.37) and the machine's own (1.32 in CI)."""
    beside = Path(sys.executable).parent / "kubectl"
    path = os.pathsep.join(
        part for part in os.environ["PATH"].split(os.pathsep) if part != str(beside.parent)
    )
    found = [str(beside)] if beside.exists() else []
    own = shutil.which("kubectl", path=path)
    return found + ([own] if own else [])


def eventually(check: Callable[[], object], timeout_s: float, what: str) -> None:
    """Poll until `check` gives something true; fail with its last result."""
    deadline = time.monotonic() + timeout_s
    while not (last := check()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what} ({last!r})"
        time.sleep(POLL_S)


class LocalCluster:
    """One `orchestrator up` in a directory of its own; `down` belongs to every test's end."""

    def __init__(self, directory: Path, *arguments: str, prefix: Sequence[str] = ()) -> None:
        self.data_dir = directory / "data"
        self.kubeconfig = directory / "kubeconfig"
        self.arguments = arguments
        self.prefix = prefix
        self.kubectl_path = kubectls()[0]

    def orchestrator(
        self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run the command and check that it succeeds."""
        command = [*self.prefix, sys.executable, "-m", "orchestrator", *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd="/",
            env=self.environment(),
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def environment(self) -> dict[str, str]:
        """The environment without anything that names another cluster."""
        kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG",)}
        return {**kept, "HOME": str(self.data_dir.parent)}

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.orchestrator(
            "up",
            f"--data-dir={self.data_dir}",
            f"--kubeconfig={self.kubeconfig}",
            "--port=0",
            *self.arguments,
            timeout_s=UP_TIMEOUT_S,
        )

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.orchestrator(
            "down", f"--data-dir={self.data_dir}", "--purge", timeout_s=DOWN_TIMEOUT_S
        )

    def kubectl(self, *arguments: str, stdin: str = "", succeeds: bool = True) -> str:
        """Run kubectl and give its standard output."""
        done = self.run_kubectl(*arguments, stdin=stdin)
        assert not succeeds or done.returncode == 0, (
            f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        )
        return done.stdout

    def run_kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.kubectl_path, f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            env=self.environment(),
        )

    def get(self, *arguments: str) -> Any:
        """`kubectl get … -o json`, read."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def items(self, *arguments: str) -> list[Any]:
        items = self.get(*arguments)["items"]
        assert isinstance(items, list)
        return items

    def ready_pods(self, selector: str) -> list[str]:
        """Names of pods that are Ready and not on their way out."""
        return [
            pod["metadata"]["name"]
            for pod in self.items("pods", "-l", selector)
            if "deletionTimestamp" not in pod["metadata"]
            and any(
                c["type"] == "Ready" and c["status"] == "True"
                for c in pod.get("status", {}).get("conditions", [])
            )
        ]

    def record(self) -> Any:
        return json.loads((self.data_dir / "cluster.json").read_text())
