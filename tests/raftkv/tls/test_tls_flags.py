"""The TLS flags become settings, or a list of what is wrong."""

import ssl

import pytest

from raftkv.config import Config, build_config
from raftkv.flags import FlagError, read_flags
from raftkv.tls.cipher_suites import openssl_ciphers

TLS_URL = "--listen-client-urls=https://127.0.0.1:1"
FILES = ("--cert-file=a.pem", "--key-file=b.pem")


def check(*arguments: str) -> Config:
    return build_config(read_flags(arguments, {}))


def problem(*arguments: str) -> str:
    with pytest.raises(FlagError) as caught:
        check(*arguments)
    return caught.value.problems[0]


def test_plain_listeners_need_nothing() -> None:
    config = check()
    assert not config.listen_client[0].is_tls
    assert not config.client_tls.has_certificate


def test_each_port_has_settings_of_its_own() -> None:
    config = check(
        "--listen-client-urls=https://127.0.0.1:1,http://127.0.0.1:2,unix://a/b.sock",
        *FILES,
        "--trusted-ca-file=ca.pem",
        "--client-cert-allowed-hostname=a.test,b.test",
        "--peer-auto-tls",
        "--peer-client-cert-auth",
        "--peer-cert-allowed-cn=m0,m1",
        "--self-signed-cert-validity=3",
        "--tls-min-version=TLS1.3",
    )
    client, peer = config.client_tls, config.peer_tls
    assert [one.is_tls for one in config.listen_client] == [True, False, False]
    assert config.listen_client[2].host == "a/b.sock"
    assert client.wants_client_certificate
    assert client.allowed_hostnames == ("a.test", "b.test")
    assert client.files == ("a.pem", "b.pem", "ca.pem")
    assert client.rules.minimum is peer.rules.minimum is ssl.TLSVersion.TLSv1_3
    assert peer.needs_self_signed
    assert peer.allowed_common_names == ("m0", "m1")
    assert peer.self_signed_years == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((TLS_URL,), "needs --cert-file and --key-file, or --auto-tls"),
        (("--cert-file=a.pem",), "--cert-file: needs --key-file"),
        (("--peer-key-file=a.pem",), "--peer-key-file: needs --peer-cert-file"),
        (("--client-cert-file=a.pem",), "--client-cert-file: needs --client-key-file"),
        (("--listen-peer-urls=unix://a",), "do not meet on Unix sockets"),
        (
            (
                "--peer-cert-allowed-cn=a",
                "--peer-cert-allowed-hostname=b",
                "--peer-client-cert-auth",
            ),
            "mutually exclusive",
        ),
        (("--peer-cert-allowed-cn=a",), "needs --peer-trusted-ca-file"),
        (("--client-cert-allowed-hostname=a",), "needs --trusted-ca-file"),
        (("--tls-min-version=TLS1.1",), "must be one of TLS1.2, TLS1.3"),
        (("--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"), "can't be greater"),
        (("--cipher-suites=NONE",), 'unexpected TLS cipher suite "NONE"'),
        (
            (
                "--tls-min-version=TLS1.3",
                "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            "cannot be configured",
        ),
        (("--self-signed-cert-validity=0",), "must be in [1, 100] years"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple[str, ...], words: str) -> None:
    assert words in problem(*arguments)


def test_cipher_suites_get_openssls_names_in_order() -> None:
    given = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ]
    named = openssl_ciphers(given)
    assert named == "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(named)
