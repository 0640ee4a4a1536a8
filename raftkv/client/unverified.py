"""Talk TLS to a server whose certificate nobody signed that we know.

gRPC verifies always. So the certificate is fetched first, by a handshake of its own, and then is
the only one that is trusted. That tells nothing about who answers; it keeps out who only listens.
"""

from __future__ import annotations

import socket
import ssl

from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = ["fetch_certificate"]

FETCH_TIMEOUT_S = 2.0


def fetch_certificate(target: str) -> tuple[bytes, str]:
    """Return what `host:port` shows, in PEM, and a name that is in it. Blocks for a handshake.

    Raises OSError.
    """
    host, _, port = target.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host.strip("[]"), int(port)), FETCH_TIMEOUT_S) as plain,
        context.wrap_socket(plain) as wrapped,
    ):
        der = wrapped.getpeercert(binary_form=True)
    assert der is not None, "a server always shows a certificate"
    return ssl.DER_cert_to_PEM_cert(der).encode(), _name_of(x509.load_der_x509_certificate(der))


def _name_of(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(common[0].value) if common else ""
    dns_names = names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    return next((str(one).replace("*", "any") for one in (*dns_names, *addresses)), "")
