"""Real members that speak TLS to clients and to each other."""

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv.client.client import Client
from raftkv.client.endpoints import Credentials
from raftkv.testing.etcdctl import Etcdctl, installed
from raftkv.testing.process_cluster import ProcessCluster, free_port
from tests.raftkv.tls.authority import Authority, Pair
from tests.raftkv.tls.secure_cluster import SecureCluster

BINARIES = installed()


def trusting(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.ca))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


class Secured:
    """Three members, one CA for clients and another for members."""

    def __init__(self, directory: Path) -> None:
        self.clients_ca = Authority(directory / "clients")
        self.peers_ca = Authority(directory / "peers")
        server = self.clients_ca.issue("server", "server", ("127.0.0.1", "localhost"))
        self.server = server
        self.alice = self.clients_ca.issue("alice", "alice")
        self.peer = self.peers_ca.issue("peer", "member")
        self.cluster = SecureCluster(
            3,
            directory,
            trusting(self.clients_ca, self.alice),
            [
                f"--cert-file={server.certificate}",
                f"--key-file={server.key}",
                f"--trusted-ca-file={self.clients_ca.ca}",
                "--client-cert-auth",
                f"--peer-cert-file={self.peer.certificate}",
                f"--peer-key-file={self.peer.key}",
                f"--peer-trusted-ca-file={self.peers_ca.ca}",
                "--peer-client-cert-auth",
                "--peer-cert-allowed-cn=member",
            ],
        )

    @property
    def etcdctl_flags(self) -> tuple[str, ...]:
        return (
            f"--cacert={self.clients_ca.ca}",
            f"--cert={self.alice.certificate}",
            f"--key={self.alice.key}",
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = Secured(tmp_path_factory.mktemp("secured"))
    with made.cluster:
        made.cluster.wait_ready()
        yield made


@pytest.mark.parametrize("ctl", BINARIES, ids=lambda one: one.path.replace("/", "-"))
def test_etcdctl_writes_and_reads_by_tls(secured: Secured, ctl: Etcdctl) -> None:
    urls, flags = secured.cluster.urls, secured.etcdctl_flags
    assert ctl.run(urls, *flags, "put", "tls/a", "b") == "OK\n"
    for url in urls.split(","):
        assert ctl.run(url, *flags, "get", "tls/a") == "tls/a\nb\n"
    assert "true" in ctl.run(urls, *flags, "endpoint", "health", "-w=json")


def raftctl(urls: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "raftkv.ctl.cli", f"--endpoints={urls}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_raftctl_writes_and_reads_by_tls(secured: Secured) -> None:
    urls, flags = secured.cluster.urls, secured.etcdctl_flags
    assert raftctl(urls, *flags, "put", "tls/r", "1") == "OK\n"
    unverified = ("--insecure-skip-tls-verify", *flags[1:])
    assert raftctl(urls, *unverified, "get", "tls/r", "--print-value-only") == "1\n"


async def test_the_python_client_speaks_tls(secured: Secured) -> None:
    credentials = Credentials(
        secured.clients_ca.ca.read_bytes(),
        secured.alice.certificate.read_bytes(),
        secured.alice.key.read_bytes(),
    )
    async with Client(secured.cluster.urls.split(","), credentials=credentials) as client:
        await client.put(b"tls/p", b"1")
        assert (await client.get(b"tls/p")).kvs[0].value == b"1"


def test_clients_without_a_certificate_are_turned_away(secured: Secured) -> None:
    ctl = BINARIES[0]
    url = secured.cluster.urls.split(",")[0]
    done = ctl.attempt(
        url, f"--cacert={secured.clients_ca.ca}", "--command-timeout=1s", "get", "tls/a"
    )
    assert done.returncode != 0
    plain = ctl.attempt(secured.cluster.endpoints[0], "--command-timeout=1s", "get", "tls/a")
    assert plain.returncode != 0


def shaken(address: tuple[str, int], context: ssl.SSLContext) -> bool:
    """Say whether the other side keeps a TLS connection open after the handshake."""
    with socket.create_connection(address, timeout=5) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
                wrapped.settimeout(0.5)
                return wrapped.recv(1) != b""
        except TimeoutError:
            return True
        except (ssl.SSLError, ConnectionError):
            return False


def test_strangers_are_no_peers(secured: Secured) -> None:
    """Nobody without a certificate, with another name in it, or from another address gets in."""
    address = ("127.0.0.1", secured.cluster.peer_ports[0])
    ca = secured.peers_ca
    assert shaken(address, trusting(ca, secured.peer))
    assert not shaken(address, trusting(ca))
    assert not shaken(address, trusting(ca, ca.issue("evil", "somebody")))
    assert not shaken(address, trusting(ca, ca.issue("far", "member", ("10.1.2.3",))))
    assert shaken(address, trusting(ca, ca.issue("anywhere", "member", ())))


def test_certificates_of_clients_and_members_change_without_a_restart(secured: Secured) -> None:
    cluster = secured.cluster
    before = [cluster.pid(member) for member in range(3)]
    old = secured.server.serial
    secured.server = secured.clients_ca.issue("server", "server", ("127.0.0.1",))
    secured.peer = secured.peers_ca.issue("peer", "member")
    address = ("127.0.0.1", cluster.client_ports[0])
    context = trusting(secured.clients_ca, secured.alice)
    with (
        socket.create_connection(address) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        shown = wrapped.getpeercert()
    assert shown is not None
    assert int(str(shown["serialNumber"]), 16) == secured.server.serial != old
    restarted = 2
    cluster.terminate(restarted)
    cluster.start(restarted)
    cluster.wait_ready()
    assert [cluster.pid(member) for member in (0, 1)] == before[:2]


def test_members_make_certificates_for_themselves(tmp_path: Path) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    flags = ["--auto-tls", "--peer-auto-tls"]
    cluster = SecureCluster(3, tmp_path, context, flags)
    with cluster:
        cluster.wait_ready()
        for port in ("client", "peer"):
            key = cluster.directory / "m0" / "fixtures" / port / "key.pem"
            assert key.stat().st_mode & 0o777 == 0o600
        ctl = BINARIES[0]
        skip = "--insecure-skip-tls-verify"
        assert ctl.run(cluster.urls, skip, "--insecure-transport=false", "put", "a", "b") == "OK\n"
        assert raftctl(cluster.urls, skip, "get", "a") == "a\nb\n"


def test_plain_tls_and_unix_listeners_stand_side_by_side(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    server = authority.issue("server", "server")
    unix = tmp_path / "m0.sock"

    port = free_port()
    cluster = ProcessCluster(
        1, tmp_path, [f"--cert-file={server.certificate}", f"--key-file={server.key}"]
    )
    urls = [f"http://{cluster.endpoints[0]}", f"https://127.0.0.1:{port}", f"unix://{unix}"]
    cluster.flags += (f"--listen-client-urls={','.join(urls)}",)
    with cluster:
        cluster.wait_ready()
        ctl = BINARIES[0]
        assert ctl.run(cluster.endpoints[0], "put", "a", "b") == "OK\n"
        assert ctl.run(urls[1], f"--cacert={authority.ca}", "get", "a") == "a\nb\n"
        assert ctl.run(urls[2], "get", "a") == "a\nb\n"
        assert raftctl(urls[2], "get", "a") == "a\nb\n"
    assert not unix.exists()
