"""The cluster's own certificates: created once, kept in a directory, renewed before expiry.

Layout of `<directory>` (0700; keys 0600): `ca.crt`, `ca.key`, `<name>.crt`, `<name>.key` for every
certificate asked for, `sa.pub` and `sa.key` for service-account tokens.

All keys are ECDSA P-256: they are made in under a millisecond, which a cluster that starts in about
a second needs, and every Kubernetes client verifies them. Reading or writing the directory blocks;
callers do it at start-up, not per request.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=60)
"""A leaf with less than this left is made anew when it is next asked for."""

CLOCK_SKEW = timedelta(minutes=5)
"""Certificates are valid from this long ago, for machines whose clocks are behind."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A PEM certificate, its PEM private key, and the files that hold them."""

    certificate: bytes
    key: bytes
    certificate_path: Path
    key_path: Path


class Pki:
    """The certificate directory of one cluster.

    `now` is the moment against which expiry is judged, by default the wall clock at construction.
    """

    def __init__(self, directory: Path, now: datetime | None = None) -> None:
        self.directory = directory
        self._now = now or datetime.now(UTC)
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        self.ca = self._certificate_authority()
        self._ca_certificate = x509.load_pem_x509_certificate(self.ca.certificate)
        self._ca_key = _load_key(self.ca.key)

    @property
    def ca_pem(self) -> bytes:
        """The certificate that every client of the cluster trusts."""
        return self.ca.certificate

    def client(self, name: str, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """Return the client certificate kept as `name`: CN is the user, each O a group."""
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        return self._leaf(name, x509.Name(attributes), (), ExtendedKeyUsageOID.CLIENT_AUTH)

    def server(self, name: str, common_name: str, hosts: Iterable[str]) -> KeyPair:
        """Return the serving certificate kept as `name`, valid for all `hosts` (names, addresses).

        A kept certificate that lacks one of the hosts is replaced.
        """
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        names = [_general_name(host) for host in dict.fromkeys(hosts)]
        return self._leaf(name, subject, names, ExtendedKeyUsageOID.SERVER_AUTH)

    def admin(self) -> KeyPair:
        """The certificate of the kubeconfig: group system:masters."""
        return self.client("admin", "kubernetes-admin", ["system:masters"])

    def controller_manager(self) -> KeyPair:
        return self.client("controller-manager", "system:kube-controller-manager")

    def scheduler(self) -> KeyPair:
        return self.client("scheduler", "system:kube-scheduler")

    def proxy(self) -> KeyPair:
        return self.client("proxy", "system:kube-proxy")

    def kubelet(self, node: str) -> KeyPair:
        """The client certificate of a node's kubelet."""
        return self.client(f"kubelet-{node}", f"system:node:{node}", ["system:nodes"])

    def kubelet_serving(self, node: str, hosts: Iterable[str]) -> KeyPair:
        """The serving certificate of a node's kubelet; `hosts` are its addresses."""
        return self.server(f"kubelet-{node}-serving", f"system:node:{node}", [node, *hosts])

    def apiserver_kubelet_client(self) -> KeyPair:
        """What the API server shows to kubelets when it fetches logs."""
        return self.client("apiserver-kubelet-client", "kube-apiserver", ["system:masters"])

    def apiserver(self, hosts: Iterable[str]) -> KeyPair:
        """The API server's serving certificate: the Service's names, loopback, and `hosts`."""
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        names += ["kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1"]
        return self.server("apiserver", "kube-apiserver", [*names, *hosts])

    def service_account_keys(self) -> tuple[Path, Path]:
        """Return the files of the public and the private key that sign service-account tokens."""
        public, private = self.directory / "sa.pub", self.directory / "sa.key"
        if not (public.exists() and private.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            encoded = key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            write_private(private, _key_pem(key))
            write_private(public, encoded, mode=0o644)
        return public, private

    def _certificate_authority(self) -> KeyPair:
        kept = self._kept("ca")
        if kept is not None:
            return kept
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "orchestrator-ca")])
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        certificate = (
            self._builder(name, name, key.public_key(), CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        return self._keep("ca", certificate, key)

    def _leaf(
        self,
        name: str,
        subject: x509.Name,
        hosts: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
    ) -> KeyPair:
        kept = self._kept(name)
        if kept is not None and self._still_good(kept, subject, hosts):
            return kept
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        issuer = self._ca_certificate.subject
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key())
        builder = (
            self._builder(subject, issuer, key.public_key(), LEAF_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(authority, critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        return self._keep(name, builder.sign(self._ca_key, hashes.SHA256()), key)

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - CLOCK_SKEW)
            .not_valid_after(self._now + life)
        )

    def _still_good(
        self, kept: KeyPair, subject: x509.Name, hosts: Sequence[x509.GeneralName]
    ) -> bool:
        certificate = x509.load_pem_x509_certificate(kept.certificate)
        if certificate.subject != subject or certificate.issuer != self._ca_certificate.subject:
            return False
        if certificate.not_valid_after_utc - self._now < RENEW_BEFORE:
            return False
        try:
            certificate.verify_directly_issued_by(self._ca_certificate)
        except Exception:
            return False
        if not hosts:
            return True
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return set(hosts) <= set(extension.value)

    def _kept(self, name: str) -> KeyPair | None:
        paths = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        try:
            return KeyPair(paths[0].read_bytes(), paths[1].read_bytes(), *paths)
        except FileNotFoundError:
            return None

    def _keep(
        self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> KeyPair:
        paths = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        encoded = certificate.public_bytes(serialization.Encoding.PEM)
        # The key first: a certificate whose key is missing would be taken for a kept pair's half.
        write_private(paths[1], _key_pem(key))
        write_private(paths[0], encoded, mode=0o644)
        return KeyPair(encoded, _key_pem(key), *paths)


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` atomically by `data`; the file never has wider permissions than `mode`.

    Raises OSError, also where a device, a pipe or a directory has that name: root may rename over
    /dev/null.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "It is no regular file", str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the CA key is not an elliptic-curve key")
    return key
