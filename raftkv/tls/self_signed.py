"""Certificates that a member makes for itself (--auto-tls, --peer-auto-tls)."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from raftkv.tls.settings import TlsError, TlsSettings

__all__ = ["with_self_signed"]

CLOCK_SKEW = timedelta(minutes=5)
"""Valid from this long ago, for machines whose clocks are behind."""
YEAR = timedelta(days=365)


def with_self_signed(
    settings: TlsSettings, directory: Path, hosts: Sequence[str], now: datetime
) -> TlsSettings:
    """Return the settings with the certificate in `directory`, made now if there is no good one.

    `cert.pem` and `key.pem` stay as they are until they expire. Raises TlsError.
    """
    certificate, key = directory / "cert.pem", directory / "key.pem"
    try:
        if not _is_good(certificate, key, now):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lifetime = YEAR * settings.self_signed_years
            certificate_pem, key_pem = make(hosts, now, lifetime)
            _write(key, key_pem, 0o600)
            _write(certificate, certificate_pem, 0o644)
    except (OSError, ValueError) as error:
        raise TlsError(f"self-signed certificate in {directory}: {error}") from error
    return settings.with_certificate(certificate, key)


def make(hosts: Sequence[str], now: datetime, lifetime: timedelta) -> tuple[bytes, bytes]:
    """Return a new certificate for `hosts` and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "raftkv")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in dict.fromkeys(hosts)]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)


def _is_good(certificate: Path, key: Path, now: datetime) -> bool:
    if not (certificate.exists() and key.exists()):
        return False
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    return loaded.not_valid_after_utc > now


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replace a file in one step; its mode is right from the beginning."""
    draft = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        out.write(data)
    draft.rename(path)
