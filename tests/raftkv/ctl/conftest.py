"""One real etcd for all tests that compare raftctl with etcdctl."""

import subprocess
from collections.abc import Iterator

import pytest

from raftkv.testing.ports import free_port
from tests.raftkv.ctl.beside_etcdctl import Etcd, binaries, wait_until_healthy


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """A real etcd with one member."""
    directory = tmp_path_factory.mktemp("etcd")
    client, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            (
                str(binaries() / "etcd"),
                *("--data-dir", str(directory / "data"), "--unsafe-no-fsync"),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", f"default={peer}"),
            ),
            stdout=log,
            stderr=log,
        )
    try:
        wait_until_healthy(client)
        yield Etcd(client.removeprefix("http://"))
    finally:
        process.terminate()
        process.wait(10)
