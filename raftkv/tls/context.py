"""TLS contexts that follow their files.

Before each handshake the files are looked at (one `stat` each); where one has changed they are
read again, and connections that are open keep what they have. Files that do not fit together, as
in the middle of a rotation, are logged, and the last good ones serve on until they change again.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from typing import Any

from raftkv.tls.settings import TlsError, TlsSettings
from raftkv.tls.verification import CertificateRules, revoked_serials

__all__ = ["FollowingContext", "client_context", "server_context"]

log = logging.getLogger(__name__)

Fingerprint = tuple[tuple[int, int, int], ...]


class CheckedObject(ssl.SSLObject):
    """One TLS connection whose handshake ends with the port's own checks."""

    def do_handshake(self) -> None:
        """Raises ssl.SSLError where the handshake or a check fails; SSLWantReadError to go on."""
        try:
            super().do_handshake()
            context = self.context
            if isinstance(context, CheckingContext):
                context.rules_of_port.check(self.getpeercert(binary_form=True))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            log.info("rejected TLS connection", extra={"reason": reason_of(error)})
            raise


def reason_of(error: ssl.SSLError) -> str:
    """Return one line that says why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.args:
        return str(getattr(error, "verify_message", "") or error.args[-1])
    return str(error.reason or error)


class CheckingContext(ssl.SSLContext):
    """A context of fixed files, with the checks that OpenSSL does not do."""

    sslobject_class = CheckedObject
    rules_of_port = CertificateRules()


class FollowingContext(ssl.SSLContext):
    """Stands for whatever context the files make now; give it to asyncio like any other.

    Only `wrap_bio`, which asyncio calls once a connection, means anything on it.
    """

    _build: Callable[[], ssl.SSLContext]
    _files: tuple[str, ...]
    _current: ssl.SSLContext
    _seen: Fingerprint | None

    @classmethod
    def of(
        cls, protocol: int, files: tuple[str, ...], build: Callable[[], ssl.SSLContext]
    ) -> FollowingContext:
        """Build for the first time. Raises TlsError."""
        self = cls(protocol)
        self._build = build
        self._files = files
        self._seen = fingerprint(files)
        self._current = build()
        return self

    @property
    def current(self) -> ssl.SSLContext:
        """The context of the files as they are, or of the last ones that fit together."""
        seen = fingerprint(self._files)
        if seen != self._seen:
            self._seen = seen
            try:
                self._current = self._build()
            except TlsError as error:
                log.warning("keeping the last certificates", extra={"reason": str(error)})
            else:
                log.info("certificates were read again", extra={"files": self._files})
        return self._current

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """Begin a connection with the current files."""
        return self.current.wrap_bio(*arguments, **named)


def fingerprint(files: tuple[str, ...]) -> Fingerprint | None:
    """Return what changes when a file's content does; None where one is missing."""
    try:
        stats = [os.stat(name) for name in files]
    except OSError:
        return None
    return tuple((one.st_mtime_ns, one.st_ino, one.st_size) for one in stats)


def server_context(settings: TlsSettings, alpn: tuple[str, ...] = ()) -> FollowingContext:
    """Return the context of a listener. Raises TlsError."""

    def build() -> ssl.SSLContext:
        context = CheckingContext(ssl.PROTOCOL_TLS_SERVER)
        _common(context, settings, settings.certificate_file, settings.key_file)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if settings.wants_client_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            _trust(context, settings.trusted_ca_file, ssl.Purpose.CLIENT_AUTH)
        return context

    return FollowingContext.of(ssl.PROTOCOL_TLS_SERVER, settings.files, build)


def client_context(settings: TlsSettings) -> FollowingContext:
    """Return the context for dialling another member. Raises TlsError.

    Certificates that members sign themselves cannot be verified: with them the traffic is
    encrypted, and nobody is known (etcd does the same).
    """

    def build() -> ssl.SSLContext:
        context = CheckingContext(ssl.PROTOCOL_TLS_CLIENT)
        certificate = settings.client_certificate_file or settings.certificate_file
        key = settings.client_key_file if settings.client_certificate_file else settings.key_file
        _common(context, settings, certificate, key)
        if settings.is_self_signed:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            _trust(context, settings.trusted_ca_file, ssl.Purpose.SERVER_AUTH)
        return context

    return FollowingContext.of(ssl.PROTOCOL_TLS_CLIENT, settings.files, build)


def _common(context: CheckingContext, settings: TlsSettings, certificate: str, key: str) -> None:
    """Set what listening and dialling have in common. Raises TlsError."""
    rules = settings.rules
    context.minimum_version = rules.minimum
    context.maximum_version = rules.maximum
    if rules.ciphers:
        context.set_ciphers(rules.ciphers)
    if certificate:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:
            raise TlsError(f"certificate {certificate} with key {key}: {error}") from error
    context.rules_of_port = CertificateRules(
        settings.allowed_common_names, settings.allowed_hostnames, _revoked(settings.crl_file)
    )


def _no_password() -> str:
    """Keep OpenSSL from asking on the terminal."""
    raise ValueError("the key is encrypted; give one without a password")


def _trust(context: ssl.SSLContext, file: str, purpose: ssl.Purpose) -> None:
    if not file:
        context.load_default_certs(purpose)
        return
    try:
        context.load_verify_locations(cafile=file)
    except OSError as error:
        raise TlsError(f"trusted CA file {file}: {error}") from error


def _revoked(file: str) -> frozenset[int]:
    if not file:
        return frozenset()
    try:
        with open(file, "rb") as opened:
            return revoked_serials(opened.read())
    except (OSError, ValueError) as error:
        raise TlsError(f"CRL file {file}: {error}") from error
