"""Names, revocation and source addresses of the other side's certificate."""

import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from raftkv.tls.source_address import Resolver, SourceRefused, check_source
from raftkv.tls.verification import CertificateNames, CertificateRules, names_of, revoked_serials
from tests.raftkv.tls.authority import Authority, Pair

HOME = ipaddress.ip_address("127.0.0.1")


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


def names(*dns: str, addresses: tuple[str, ...] = ()) -> CertificateNames:
    return CertificateNames("", dns, tuple(ipaddress.ip_address(one) for one in addresses))


def test_names_of_a_certificate_are_read(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("a", "somebody", ("127.0.0.1", "a.test", "*.b.test"))
    assert names_of(der(pair)) == CertificateNames("somebody", ("a.test", "*.b.test"), (HOME,))
    bare = Authority(tmp_path).issue("b", "nobody", ())
    assert names_of(der(bare)) == CertificateNames("nobody", (), ())


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("a.test", "A.TEST", True),
        ("a.test", "b.a.test", False),
        ("*.a.test", "b.a.test", True),
        ("*.a.test", "c.b.a.test", False),
        ("*.a.test", "a.test", False),
        ("*.a.test", ".a.test", False),
    ],
)
def test_a_wildcard_is_one_whole_label(pattern: str, host: str, covered: bool) -> None:
    assert names(pattern).is_for(host) is covered


def test_addresses_are_matched_as_addresses() -> None:
    assert names(addresses=("127.0.0.1",)).is_for("127.0.0.1")
    assert not names("127.0.0.1").is_for("127.0.0.1")
    assert names(addresses=("::1",)).is_for("[0:0::1]")


def test_common_names_and_hostnames_are_enforced(tmp_path: Path) -> None:
    certificate = der(Authority(tmp_path).issue("a", "m0", ("m0.test",)))
    CertificateRules(allowed_common_names=("m1", "m0")).check(certificate)
    CertificateRules(allowed_hostnames=("m0.test",)).check(certificate)
    for rules in (
        CertificateRules(allowed_common_names=("m1",)),
        CertificateRules(allowed_hostnames=("m1.test",)),
    ):
        with pytest.raises(ssl.SSLCertVerificationError, match="authentication failed"):
            rules.check(certificate)
        with pytest.raises(ssl.SSLCertVerificationError):
            rules.check(None)


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_revoked_serials_are_refused(tmp_path: Path, encoding: serialization.Encoding) -> None:
    authority = Authority(tmp_path)
    bad, good = authority.issue("bad", "x"), authority.issue("good", "x")
    crl = authority.revoke(tmp_path / "crl", [bad.serial], encoding)
    rules = CertificateRules(revoked=revoked_serials(crl.read_bytes()))
    rules.check(der(good))
    with pytest.raises(ssl.SSLCertVerificationError, match=f"serial {bad.serial:x} revoked"):
        rules.check(der(bad))


DNS = {"m0.test": "10.0.0.1"}


async def addresses_of(name: str) -> frozenset[str]:
    if name not in DNS:
        raise OSError("not found")
    return frozenset({DNS[name]})


async def names_of_address(address: str) -> frozenset[str]:
    return frozenset(name for name, one in DNS.items() if one == address)


RESOLVER = Resolver(addresses_of, names_of_address)


@pytest.mark.parametrize(
    ("certificate", "source", "passes"),
    [
        (names(), "10.0.0.9", True),
        (names(addresses=("10.0.0.1",)), "10.0.0.1", True),
        (names(addresses=("10.0.0.1",)), "::ffff:10.0.0.1", True),
        (names(addresses=("10.0.0.1",)), "10.0.0.2", False),
        (names("m0.test", addresses=("10.0.0.2",)), "10.0.0.2", True),
        (names("nowhere.test", "m0.test"), "10.0.0.1", True),
        (names("m0.test"), "10.0.0.2", False),
        (names("*.test"), "10.0.0.1", True),
        (names("*.other"), "10.0.0.1", False),
        (names("nowhere.test"), "10.0.0.1", False),
    ],
)
async def test_a_member_comes_from_where_its_certificate_says(
    certificate: CertificateNames, source: str, passes: bool
) -> None:
    if passes:
        await check_source(certificate, source, RESOLVER)
    else:
        with pytest.raises(SourceRefused, match=source):
            await check_source(certificate, source, RESOLVER)
