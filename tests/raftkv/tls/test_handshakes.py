"""Real handshakes with a front end: certificates, rotation, revocation, limits."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from raftkv._native.http2 import MethodTable, Server
from raftkv.rpc.http1 import Http1Protocol, HttpRoutes
from raftkv.tls.context import server_context
from raftkv.tls.listener import Admission, listen
from raftkv.tls.self_signed import with_self_signed
from raftkv.tls.settings import TlsError, TlsRules, TlsSettings
from tests.raftkv.native.http2_serving import until
from tests.raftkv.tls.authority import Authority, Pair

ALPN = ("h2", "http/1.1")


@asynccontextmanager
async def serving(settings: TlsSettings, admission: Admission | None = None) -> AsyncIterator[int]:
    """Serve `/test.Test/Who`, which answers with the client's common name; yields the port."""
    methods = MethodTable()
    methods.unary(b"/test.Test/Who", lambda s, _: s.reply(s.peer_common_name.encode()))
    server = Server(methods, lambda: Http1Protocol(HttpRoutes()))
    admission = admission or Admission(100)
    context = server_context(settings, ALPN)
    listener = await listen(server.protocol_factory, "127.0.0.1", 0, context, admission)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await listener.wait_closed()
        server.close()
        await until(lambda: admission.open == 0)


def settings_of(authority: Authority, pair: Pair, **more: object) -> TlsSettings:
    return TlsSettings(str(pair.certificate), str(pair.key), **more)  # type: ignore[arg-type]


def client(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.set_alpn_protocols(["h2"])
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


async def serial_shown(port: int, context: ssl.SSLContext) -> int:
    """Connect once and return the serial number of the server's certificate.

    Reads too: under TLS 1.3 a client learns only then that the server does not want it.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
        async with asyncio.timeout(5):
            if not await reader.read(9):
                raise ConnectionResetError("the server closed the connection")
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(shown).serial_number
    finally:
        writer.transport.abort()


async def refused(attempt: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await attempt()


async def test_the_common_name_of_a_client_certificate_reaches_the_handlers(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, alice = authority.issue("server", "server"), authority.issue("alice", "alice")
    settings = settings_of(authority, server, trusted_ca_file=str(authority.ca))
    credentials = grpc.ssl_channel_credentials(
        authority.ca.read_bytes(), alice.key.read_bytes(), alice.certificate.read_bytes()
    )
    async with (
        serving(settings) as port,
        grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel,
    ):
        assert await channel.unary_unary("/test.Test/Who")(b"") == b"alice"


async def test_without_a_good_client_certificate_nobody_gets_in(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    server = authority.issue("server", "server")
    settings = settings_of(authority, server, trusted_ca_file=str(authority.ca))
    async with serving(settings) as port:
        await serial_shown(port, client(authority, authority.issue("alice", "alice")))
        await refused(lambda: serial_shown(port, client(authority)))
        foreign = client(authority, stranger.issue("alice", "alice"))
        await refused(lambda: serial_shown(port, foreign))


async def test_a_client_that_is_turned_away_learns_why(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.issue("server", "server")
    settings = settings_of(authority, server, trusted_ca_file=str(authority.ca))
    context = client(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the alert comes within the handshake
    async with serving(settings) as port:
        with pytest.raises(ssl.SSLError, match="ALERT"):
            await serial_shown(port, context)


async def test_certificates_are_read_again_when_they_change(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first = authority.issue("server", "server")
    async with serving(settings_of(authority, first)) as port:
        assert await serial_shown(port, client(authority)) == first.serial
        second = authority.issue("server", "server")
        assert await serial_shown(port, client(authority)) == second.serial


async def test_files_in_the_middle_of_a_rotation_do_not_stop_the_service(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first = authority.issue("server", "server")
    async with serving(settings_of(authority, first)) as port:
        other = authority.issue("other", "server")
        os.replace(other.certificate, first.certificate)  # the key is still the old one
        assert await serial_shown(port, client(authority)) == first.serial
        first.certificate.unlink()
        assert await serial_shown(port, client(authority)) == first.serial
        third = authority.issue("server", "server")
        assert await serial_shown(port, client(authority)) == third.serial


async def test_a_revocation_counts_from_the_next_handshake(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, alice = authority.issue("server", "server"), authority.issue("alice", "alice")
    pem = serialization.Encoding.PEM
    crl = authority.revoke(tmp_path / "crl.pem", [], pem)
    settings = settings_of(authority, server, trusted_ca_file=str(authority.ca), crl_file=str(crl))
    async with serving(settings) as port:
        await serial_shown(port, client(authority, alice))
        authority.revoke(crl, [alice.serial], pem)
        await refused(lambda: serial_shown(port, client(authority, alice)))
        await serial_shown(port, client(authority, authority.issue("bob", "bob")))


async def test_versions_and_ciphers_are_as_the_flags_say(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.issue("server", "server")
    suite = "ECDHE-ECDSA-AES256-GCM-SHA384"
    rules = TlsRules(maximum=ssl.TLSVersion.TLSv1_2, ciphers=suite)
    async with serving(settings_of(authority, server, rules=rules)) as port:
        context = client(authority)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        chosen = writer.get_extra_info("cipher")
        writer.transport.abort()
        assert chosen[:2] == (suite, "TLSv1.2")
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        await refused(lambda: serial_shown(port, context))


async def test_a_client_that_does_not_finish_its_handshake_is_cut_off(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    admission = Admission(100, handshake_timeout_s=1)
    async with serving(settings_of(authority, authority.issue("s", "s")), admission) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: admission.open == 0)


@pytest.mark.parametrize(
    "noise",
    [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\xff\xff" * 50],
    ids=["http/1", "h2", "record"],
)
async def test_noise_on_a_tls_port_costs_its_connection(tmp_path: Path, noise: bytes) -> None:
    authority = Authority(tmp_path)
    async with serving(settings_of(authority, authority.issue("s", "s"))) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(noise)
        with suppress(ConnectionError):
            async with asyncio.timeout(5):
                await reader.read()
        writer.close()
        await serial_shown(port, client(authority))


async def test_connections_beyond_the_bound_are_closed_before_their_handshake(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    admission = Admission(2)
    async with serving(settings_of(authority, authority.issue("s", "s")), admission) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await until(lambda: admission.open == 2)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        for _, one in silent:
            one.close()
        await until(lambda: admission.open == 0)
        await serial_shown(port, client(authority))


def test_a_self_signed_certificate_is_kept_until_it_expires(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    hosts = ["127.0.0.1", "m0.test"]
    made = with_self_signed(TlsSettings(automatic=True), tmp_path / "f", hosts, now)
    assert made.is_self_signed
    key = Path(made.key_file)
    assert key.stat().st_mode & 0o777 == 0o600
    first = Path(made.certificate_file).read_bytes()
    with_self_signed(TlsSettings(automatic=True), tmp_path / "f", hosts, now)
    assert Path(made.certificate_file).read_bytes() == first
    later = now + timedelta(days=366)
    with_self_signed(TlsSettings(automatic=True), tmp_path / "f", hosts, later)
    assert Path(made.certificate_file).read_bytes() != first


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, other = authority.issue("a", "a"), authority.issue("b", "b")
    with pytest.raises(TlsError, match=r"missing\.pem"):
        server_context(TlsSettings(str(tmp_path / "missing.pem"), str(pair.key)))
    with pytest.raises(TlsError, match=r"a\.pem with key .*b-key\.pem"):
        server_context(TlsSettings(str(pair.certificate), str(other.key)))
    with pytest.raises(TlsError, match=r"CRL file .*a\.pem"):
        server_context(settings_of(authority, pair, crl_file=str(pair.certificate)))
