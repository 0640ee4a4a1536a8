"""What one port (clients' or peers') needs to know of TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["TlsError", "TlsRules", "TlsSettings"]


class TlsError(OSError):
    """The files that TLS needs cannot be used; the text names the file and says why."""


@dataclass(frozen=True, slots=True)
class TlsRules:
    """Versions and ciphers, the same for both ports."""

    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
    ciphers: str = ""
    """OpenSSL's list of suites below TLS 1.3; empty: OpenSSL's own choice."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files and checks of one port; empty where it speaks plain text only."""

    certificate_file: str = ""
    key_file: str = ""
    trusted_ca_file: str = ""
    """Signers of the other side. Naming one makes client certificates a must, as in etcd."""
    client_cert_auth: bool = False
    """Whether clients must have a certificate; by it they are authenticated where auth is on."""
    client_certificate_file: str = ""
    client_key_file: str = ""
    """What this member shows where it dials; empty: the same as where it listens."""
    crl_file: str = ""
    """Certificates that are refused, PEM or DER; empty: none."""
    allowed_common_names: tuple[str, ...] = ()
    """Where not empty, one of them must be the other side's common name."""
    allowed_hostnames: tuple[str, ...] = ()
    """Where not empty, the other side's certificate must be good for one of them."""
    check_address: bool = True
    """Whether a certificate that names hosts must name the address that it comes from (peers)."""
    automatic: bool = False
    """Make a self-signed certificate where none is given."""
    self_signed_years: int = 1
    is_self_signed: bool = False
    """Whether the certificate is one that the member made: nobody can verify it."""
    rules: TlsRules = TlsRules()

    @property
    def has_certificate(self) -> bool:
        """Say whether a listener can speak TLS with this."""
        return bool(self.certificate_file and self.key_file)

    @property
    def needs_self_signed(self) -> bool:
        """Say whether the member is to make its certificate itself."""
        return self.automatic and not self.certificate_file

    @property
    def wants_client_certificate(self) -> bool:
        """Say whether who connects must show a certificate."""
        return bool(self.trusted_ca_file) or self.client_cert_auth

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read, each once; a change of one makes a new context."""
        named = (
            self.certificate_file,
            self.key_file,
            self.trusted_ca_file,
            self.client_certificate_file,
            self.client_key_file,
            self.crl_file,
        )
        return tuple(dict.fromkeys(name for name in named if name))

    def with_certificate(self, certificate: Path, key: Path) -> TlsSettings:
        """Return the settings with a certificate that the member made."""
        return replace(
            self, certificate_file=str(certificate), key_file=str(key), is_self_signed=True
        )
