"""Read the TLS flags of both ports."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import cast

from raftkv.flags import Value
from raftkv.tls.cipher_suites import openssl_ciphers
from raftkv.tls.settings import TlsRules, TlsSettings

__all__ = ["client_tls", "peer_tls", "tls_rules"]

Problem = Callable[[str, str], None]
"""`problem(flag, text)` reports what is wrong."""

VERSIONS = {
    "TLS1.2": ssl.TLSVersion.TLSv1_2,
    "TLS1.3": ssl.TLSVersion.TLSv1_3,
}


def tls_rules(values: Mapping[str, Value], problem: Problem) -> TlsRules:
    """Read versions and cipher suites."""
    minimum = _version(values, "tls-min-version", TlsRules().minimum, problem)
    maximum = _version(values, "tls-max-version", TlsRules().maximum, problem)
    least, most = values["tls-min-version"], values["tls-max-version"]
    if least == "TLS1.3" and most == "TLS1.2":
        problem("tls-min-version", f"{least} can't be greater than --tls-max-version {most}")
    names = _list(values, "cipher-suites")
    ciphers = ""
    if names and least == "TLS1.3":
        problem("cipher-suites", "cannot be configured when the minimum version is TLS1.3")
    try:
        ciphers = openssl_ciphers(names)
    except ValueError as error:
        problem("cipher-suites", str(error))
    return TlsRules(minimum, maximum, ciphers)


def client_tls(values: Mapping[str, Value], rules: TlsRules, problem: Problem) -> TlsSettings:
    """Read what concerns the clients' port."""
    settings = TlsSettings(
        certificate_file=_text(values, "cert-file"),
        key_file=_text(values, "key-file"),
        trusted_ca_file=_text(values, "trusted-ca-file"),
        client_cert_auth=cast(bool, values["client-cert-auth"]),
        client_certificate_file=_text(values, "client-cert-file"),
        client_key_file=_text(values, "client-key-file"),
        crl_file=_text(values, "client-crl-file"),
        allowed_hostnames=_list(values, "client-cert-allowed-hostname"),
        check_address=False,
        automatic=cast(bool, values["auto-tls"]),
        self_signed_years=_years(values, problem),
        rules=rules,
    )
    _check_pairs(settings, "", "client-", problem)
    if settings.allowed_hostnames and not settings.wants_client_certificate:
        problem("client-cert-allowed-hostname", "needs --trusted-ca-file or --client-cert-auth")
    return settings


def peer_tls(values: Mapping[str, Value], rules: TlsRules, problem: Problem) -> TlsSettings:
    """Read what concerns the members' port."""
    settings = TlsSettings(
        certificate_file=_text(values, "peer-cert-file"),
        key_file=_text(values, "peer-key-file"),
        trusted_ca_file=_text(values, "peer-trusted-ca-file"),
        client_cert_auth=cast(bool, values["peer-client-cert-auth"]),
        client_certificate_file=_text(values, "peer-client-cert-file"),
        client_key_file=_text(values, "peer-client-key-file"),
        crl_file=_text(values, "peer-crl-file"),
        allowed_common_names=_list(values, "peer-cert-allowed-cn"),
        allowed_hostnames=_list(values, "peer-cert-allowed-hostname"),
        check_address=not cast(bool, values["peer-skip-client-san-verification"]),
        automatic=cast(bool, values["peer-auto-tls"]),
        self_signed_years=_years(values, problem),
        rules=rules,
    )
    _check_pairs(settings, "peer-", "peer-client-", problem)
    allowed = settings.allowed_common_names or settings.allowed_hostnames
    if allowed and not settings.wants_client_certificate:
        problem(
            "peer-cert-allowed-cn/hostname",
            "needs --peer-trusted-ca-file or --peer-client-cert-auth",
        )
    if settings.allowed_common_names and settings.allowed_hostnames:
        problem("peer-cert-allowed-cn", "and --peer-cert-allowed-hostname are mutually exclusive")
    return settings


def _text(values: Mapping[str, Value], flag: str) -> str:
    return cast(str, values[flag])


def _list(values: Mapping[str, Value], flag: str) -> tuple[str, ...]:
    return tuple(filter(None, (one.strip() for one in _text(values, flag).split(","))))


def _years(values: Mapping[str, Value], problem: Problem) -> int:
    years = cast(int, values["self-signed-cert-validity"])
    if not 1 <= years <= 100:
        problem("self-signed-cert-validity", f"must be in [1, 100] years, not {years}")
    return years


def _version(
    values: Mapping[str, Value], flag: str, default: ssl.TLSVersion, problem: Problem
) -> ssl.TLSVersion:
    text = _text(values, flag)
    if text and text not in VERSIONS:
        problem(flag, f"must be one of {', '.join(VERSIONS)}, not {text!r}")
    return VERSIONS.get(text, default)


def _check_pairs(settings: TlsSettings, own: str, client: str, problem: Problem) -> None:
    """A certificate is of no use without its key, nor the other way round."""
    for prefix, certificate, key in (
        (own, settings.certificate_file, settings.key_file),
        (client, settings.client_certificate_file, settings.client_key_file),
    ):
        if certificate and not key:
            problem(f"{prefix}cert-file", f"needs --{prefix}key-file")
        elif key and not certificate:
            problem(f"{prefix}key-file", f"needs --{prefix}cert-file")
