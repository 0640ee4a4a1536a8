"""What is asked of the other side's certificate beyond its signature and its dates.

All of this is about one certificate, the leaf. Signature, chain, dates and key usage are OpenSSL's.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = ["CertificateNames", "CertificateRules", "names_of", "revoked_serials"]

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """Who a certificate is for."""

    common_name: str
    """The last of the subject, "" where there is none."""
    dns_names: tuple[str, ...]
    addresses: tuple[IpAddress, ...]

    def is_for(self, host: str) -> bool:
        """Say whether the subject's alternative names cover a host name or an address."""
        try:
            return ipaddress.ip_address(host.strip("[]")) in self.addresses
        except ValueError:
            return any(covers(name, host) for name in self.dns_names)


def covers(pattern: str, host: str) -> bool:
    """Match a host name; `*` stands for exactly one whole first label (RFC 6125 §6.4.3)."""
    pattern, host = pattern.lower().rstrip("."), host.lower().rstrip(".")
    if not pattern.startswith("*."):
        return pattern == host
    label, dot, rest = host.partition(".")
    return bool(label and dot) and rest == pattern[2:]


def names_of(der: bytes) -> CertificateNames:
    """Read the names of a certificate. Raises ValueError for what is no certificate."""
    return _names(x509.load_der_x509_certificate(der))


def _names(certificate: x509.Certificate) -> CertificateNames:
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        dns_names, addresses = [], []
    else:
        dns_names = alternative.value.get_values_for_type(x509.DNSName)
        addresses = [
            one
            for one in alternative.value.get_values_for_type(x509.IPAddress)
            if isinstance(one, IpAddress)
        ]
    return CertificateNames(
        str(common[-1].value) if common else "", tuple(dns_names), tuple(addresses)
    )


def revoked_serials(data: bytes) -> frozenset[int]:
    """Return the serial numbers in a CRL, PEM or DER. Raises ValueError.

    Its signature and dates are not looked at: whoever can write the file is trusted, and a list
    that is late must not shut everybody out. Serial numbers alone decide, as in etcd.
    """
    if b"-----BEGIN" in data:
        crl = x509.load_pem_x509_crl(data)
    else:
        crl = x509.load_der_x509_crl(data)
    return frozenset(one.serial_number for one in crl)


@dataclass(frozen=True, slots=True)
class CertificateRules:
    """The checks of one port; `check` runs at the end of every handshake."""

    allowed_common_names: tuple[str, ...] = ()
    allowed_hostnames: tuple[str, ...] = ()
    revoked: frozenset[int] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Say whether every certificate passes."""
        return not (self.allowed_common_names or self.allowed_hostnames or self.revoked)

    def check(self, der: bytes | None) -> None:
        """Pass or raise ssl.SSLCertVerificationError; `der` is None where none was shown."""
        if self.is_empty:
            return
        if der is None:
            if self.allowed_common_names or self.allowed_hostnames:
                raise ssl.SSLCertVerificationError("client certificate authentication failed")
            return
        certificate = x509.load_der_x509_certificate(der)
        if certificate.serial_number in self.revoked:
            raise ssl.SSLCertVerificationError(
                f"certificate serial {certificate.serial_number:x} revoked"
            )
        names = _names(certificate)
        if self.allowed_common_names and names.common_name not in self.allowed_common_names:
            raise ssl.SSLCertVerificationError(
                f"client certificate authentication failed: common name {names.common_name!r}"
            )
        if self.allowed_hostnames and not _any_for(names, self.allowed_hostnames):
            raise ssl.SSLCertVerificationError(
                "client certificate authentication failed: not for "
                + " or ".join(self.allowed_hostnames)
            )


def _any_for(names: CertificateNames, hosts: Iterable[str]) -> bool:
    return any(names.is_for(host) for host in hosts)
