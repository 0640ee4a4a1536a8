"""The example under `--runtime process`: no containerd, and where we are root, as somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.e2e.local_cluster import EXAMPLES, LocalCluster, eventually

pytestmark = pytest.mark.slow

NOBODY = 65534


def ordinary_user() -> list[str]:
    """The command prefix that makes us `nobody`, without any capability where that can be.

    Where the interpreter lies in root's home, which nobody may enter, the right to read files
    (CAP_DAC_READ_SEARCH) is kept, and that alone.
    """
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    none = [*drop, "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]
    reading = [
        *drop,
        "--inh-caps=-all,+dac_read_search",
        "--ambient-caps=-all,+dac_read_search",
        "--bounding-set=-all,+dac_read_search",
    ]
    # A child of the child: the first exec is still made with root's rights.
    again = "import subprocess as s; s.run([{0!r}, '-c', 'import orchestrator'], check=True)"
    works = [sys.executable, "-c", again.format(sys.executable)]
    for prefix in (none, reading):
        if subprocess.run([*prefix, *works], capture_output=True, cwd="/").returncode == 0:
            return prefix
    raise AssertionError("no ordinary user can run this interpreter")


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """A cluster of an ordinary user: ourselves, or `nobody` where we are root."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="orchestrator-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        prefix = ordinary_user() if root else []
        cluster = LocalCluster(directory, "--runtime=process", prefix=prefix)
        if root:
            os.chown(directory, NOBODY, NOBODY)
        cluster.up()
        yield cluster
        cluster.down()


def test_hello_answers_from_both_pods(cluster: LocalCluster) -> None:
    cluster.kubectl("apply", "-f", str(EXAMPLES / "hello.yaml"))
    cluster.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    pods = cluster.ready_pods("app=hello")
    service = cluster.get("service", "hello")
    assert service["spec"]["clusterIP"].startswith("127.96.")
    url = f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}/"
    seen: set[str] = set()

    def both() -> bool:
        with urllib.request.urlopen(url, timeout=3) as answer:
            page = answer.read().decode()
        seen.update(pod for pod in pods if pod in page)
        return seen == set(pods)

    eventually(both, 10, f"{url} is answered by both pods")
    owner = NOBODY if cluster.prefix else os.geteuid()
    pid = cluster.record()["daemon"]["pid"]
    assert os.stat(f"/proc/{pid}").st_uid == owner
    assert "serving on" in cluster.kubectl("logs", pods[0])
    cluster.kubectl("set", "image", "deployment/hello", "hello=localhost/hello:2")
    cluster.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    with urllib.request.urlopen(url, timeout=3) as answer:
        assert "version 2" in answer.read().decode()
