"""TLS with ALPN, and HTTP/1.1 beside gRPC on the same port."""

import asyncio
import datetime
import io
import ipaddress
import ssl
from pathlib import Path

import aiohttp
import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from raftkv.rpc.http1 import Http1Protocol, HttpRoutes
from tests.raftkv.native.http2_serving import serving


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "front end under test")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return tmp_path / "cert.pem", tmp_path / "key.pem"


async def test_grpc_and_https_share_a_tls_port(certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    trusted = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    async with serving(tls=context) as front:
        async with grpc.aio.secure_channel(front.target, trusted) as channel:
            echo = channel.unary_unary("/test.Test/Echo")
            messages = [bytes([i]) * (i * 40_000) for i in range(8)]
            assert await asyncio.gather(*(echo(m) for m in messages)) == messages
        client = ssl.create_default_context(cafile=str(certificate[0]))
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://{front.target}/version", ssl=client) as response,
        ):
            assert await response.json() == {"version": "1"}


async def test_http1_requests_share_the_port_and_the_connection() -> None:
    async with serving() as front, aiohttp.ClientSession() as session:
        base = f"http://{front.target}"
        async with session.get(f"{base}/version") as response:
            assert (response.status, response.content_type) == (200, "application/json")
        async with session.post(f"{base}/mirror/a%20b?x=1", data=b"body") as response:
            assert await response.text() == "POST /mirror/a b {'x': ['1']} body"
        async with session.get(f"{base}/nowhere") as response:
            assert response.status == 404
        async with session.delete(f"{base}/version") as response:
            assert response.status == 405
        async with session.head(f"{base}/version") as response:
            assert (response.status, response.content_length) == (200, 15)
        async with session.post(f"{base}/mirror/", data=io.BytesIO(b"x" * (3 << 20))) as response:
            assert response.status == 413


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET / HTTP/3.0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000, b"431"),
    ],
)
async def test_broken_http1_is_answered_and_closed(request_bytes: bytes, status: bytes) -> None:
    async with serving() as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(request_bytes)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.split(b" ")[1] == status
        writer.close()
        await writer.wait_closed()


async def test_pipelined_http1_requests_are_answered_in_order() -> None:
    async with serving() as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        for (
            byte
        ) in b"GET /mirror/1 HTTP/1.1\r\n\r\nGET /mirror/2 HTTP/1.1\r\nconnection: close\r\n\r\n":
            writer.write(bytes([byte]))
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.index(b"GET /mirror/1") < answer.index(b"GET /mirror/2")
        writer.close()
        await writer.wait_closed()


async def test_closing_the_routes_ends_idle_http1_connections() -> None:
    routes = HttpRoutes()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Http1Protocol(routes), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    writer.write(b"GET /none HTTP/1.1\r\n\r\n")
    assert b"404" in await reader.readline()
    listener.close()
    routes.close()
    await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
