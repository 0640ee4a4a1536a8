"""A real etcd and an API server, with which kubelets of these tests run pods."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.apiserver.config import ApiServerConfig
from orchestrator.apiserver.server import ApiServer
from orchestrator.client.config import ClientConfig
from orchestrator.client.rest_client import RestClient
from orchestrator.pki import KeyPair
from raftkv.testing.ports import free_port
from raftkv.testing.real_etcd import etcd_binary

ETCD_START_S = 20.0


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a real etcd."""
    binary = etcd_binary()
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    directory = str(tmp_path_factory.mktemp("store"))
    flags = ["--data-dir", directory, "--listen-client-urls", client, "--log-level", "error"]
    flags += ["--advertise-client-urls", client, "--listen-peer-urls", peer]
    flags += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    process = subprocess.Popen(
        [binary, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + ETCD_START_S
    try:
        while True:
            try:
                host, port = client.removeprefix("http://").split(":")
                socket.create_connection((host, int(port)), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.02)
        yield client
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
async def api(store: str, tmp_path: Path) -> AsyncIterator[ApiServer]:
    server = ApiServer(
        ApiServerConfig(
            data_dir=tmp_path / "api",
            etcd_endpoints=(store,),
            port=0,
            etcd_prefix=f"/{tmp_path.name}",
            compaction_interval_s=0,
        )
    )
    await server.start()
    yield server
    await server.stop()


def client_of(api: ApiServer, pair: KeyPair) -> RestClient:
    return RestClient(
        ClientConfig(
            server=api.url,
            ca_pem=api.pki.ca_pem,
            client_cert_pem=pair.certificate,
            client_key_pem=pair.key,
        )
    )


@pytest.fixture
async def admin(api: ApiServer) -> AsyncIterator[RestClient]:
    async with client_of(api, api.pki.admin()) as client:
        yield client
