"""Tokens: what is good, for how long, and that nothing else is."""

import json
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from raftkv.auth import simple_token
from raftkv.auth.jwt import METHODS, Claims, JwtKey, load_key
from raftkv.auth.simple_token import SimpleToken, TokenUses
from raftkv.auth.token_options import JwtOptions, parse_token_options
from raftkv.auth_config import auth_from_flags
from raftkv.flags import parse_duration_s, read_flags

SECRET = b"0" * 32
TOKEN = SimpleToken("user", 7, 1_000_000, b"12345678")


def test_a_simple_token_says_what_was_put_in() -> None:
    assert simple_token.read(simple_token.write(TOKEN, SECRET), SECRET) == TOKEN


def test_no_other_text_is_a_token() -> None:
    text = simple_token.write(TOKEN, SECRET)
    assert simple_token.read(text, b"1" * 32) is None
    assert simple_token.read(text, b"") is None, "no secret, no tokens"
    for place in range(len(text)):
        for other in ("A", "-", "."):
            changed = text[:place] + other + text[place + 1 :]
            if changed != text:
                found = simple_token.read(changed, SECRET)
                # The last letters of base64 hold bits that mean nothing.
                assert found in (None, TOKEN), changed
    for nothing in ("", ".", "a.b", "\udcff.x", "a" * 5000, text + ".x", text[:-2]):
        assert simple_token.read(nothing, SECRET) is None, nothing


def test_a_token_lives_from_its_last_use() -> None:
    uses, made = TokenUses(10), TOKEN.made_ms
    assert uses.is_alive(TOKEN, made + 9_999)
    assert not uses.is_alive(TOKEN, made + 10_000)
    uses.use(TOKEN.id, made + 9_000)
    assert uses.is_alive(TOKEN, made + 18_999)
    assert not uses.is_alive(TOKEN, made + 19_000)
    uses.use(TOKEN.id, made + 1_000)
    assert uses.is_alive(TOKEN, made + 18_999), "news of an earlier use take nothing back"


def test_a_use_is_news_a_few_times_in_a_life() -> None:
    uses, made = TokenUses(8), TOKEN.made_ms
    told = [ms for ms in range(0, 8000, 100) if uses.is_news(TOKEN, made + ms)]
    assert told == [2000, 4000, 6000]


def test_uses_are_bounded() -> None:
    uses = TokenUses(10, tokens_max=3)
    for number in range(10):
        uses.use(b"%016d" % number, 1)
    assert len(uses) == 3


def pem(key: PrivateKeyTypes) -> tuple[bytes, bytes]:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public, private


RSA = pem(rsa.generate_private_key(65537, 2048))
CURVES = {
    "256": pem(ec.generate_private_key(ec.SECP256R1())),
    "384": pem(ec.generate_private_key(ec.SECP384R1())),
    "512": pem(ec.generate_private_key(ec.SECP521R1())),
}


def keys_of(method: str) -> tuple[bytes, bytes]:
    if method.startswith("HS"):
        return b"", b"a shared secret"
    if method == "EdDSA":
        return pem(ed25519.Ed25519PrivateKey.generate())
    return CURVES[method[2:]] if method.startswith("ES") else RSA


CLAIMS = Claims("user", 7, 2000)


@pytest.mark.parametrize("method", METHODS)
def test_jwt_of_every_method(method: str) -> None:
    public, private = keys_of(method)
    key = load_key(method, public, private)
    text = key.write(CLAIMS)
    assert key.read(text, 1999) == CLAIMS
    assert key.read(text, 2000) is None, "expired"
    head, body, signature = text.split(".")
    assert key.read(f"{head}.{body}.", 1999) is None
    forged = urlsafe_b64encode(b'{"username":"root","revision":7,"exp":2000}').rstrip(b"=").decode()
    assert key.read(f"{head}.{forged}.{signature}", 1999) is None
    if public:
        verifier = load_key(method, public, b"")
        assert verifier.sign is None
        assert verifier.read(text, 1999) == CLAIMS


@pytest.fixture(scope="module")
def shared() -> JwtKey:
    return load_key("HS256", b"", b"a shared secret")


def signed(key: JwtKey, header: object, body: object) -> str:
    parts = [urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, body)]
    text = b".".join(parts)
    assert key.sign is not None
    return (text + b"." + urlsafe_b64encode(key.sign(text)).rstrip(b"=")).decode()


def test_the_algorithm_is_the_servers_choice(shared: JwtKey) -> None:
    """No downgrade to `none`, nor to a public key taken for a shared secret."""
    body = {"username": "root", "revision": 1, "exp": 2000}
    assert shared.read(signed(shared, {"alg": "HS256"}, body), 0) is not None
    for algorithm in ("none", "None", "HS384", "RS256", "", None, 5):
        assert shared.read(signed(shared, {"alg": algorithm}, body), 0) is None
    rsa_key = load_key("RS256", *RSA)
    confused = load_key("HS256", b"", RSA[0])
    assert rsa_key.read(signed(confused, {"alg": "HS256"}, body), 0) is None
    assert rsa_key.read(signed(confused, {"alg": "RS256"}, body), 0) is None


@pytest.mark.parametrize(
    "body",
    [
        [],
        "x",
        None,
        {},
        {"username": "u", "revision": 1},
        {"username": "u", "exp": 2000},
        {"revision": 1, "exp": 2000},
        {"username": 5, "revision": 1, "exp": 2000},
        {"username": "u", "revision": "1", "exp": 2000},
        {"username": "u", "revision": True, "exp": 2000},
        {"username": "u", "revision": 1e300, "exp": 2000},
        {"username": "u", "revision": 1, "exp": 1e300},
        {"username": "u", "revision": 1, "exp": 2000, "nbf": 1500},
        {"username": "u", "revision": 1, "exp": float("nan")},
    ],
    ids=str,
)
def test_strange_claims_are_none(shared: JwtKey, body: object) -> None:
    assert shared.read(signed(shared, {"alg": "HS256"}, body), 1000) is None


@pytest.mark.parametrize("text", ["", "..", "a.b.c", "a.b", "." * 9, "[" * 20000, "é.é.é"])
def test_text_that_is_no_jwt(shared: JwtKey, text: str) -> None:
    assert shared.read(text, 0) is None


def test_keys_must_suit_the_method() -> None:
    for method, public, private in (
        ("RS256", *CURVES["256"]),
        ("ES256", *CURVES["384"]),
        ("ES256", *RSA),
        ("EdDSA", *RSA),
        ("XX", *RSA),
        ("RS256", b"", b""),
        ("RS256", b"rubbish", b""),
    ):
        with pytest.raises(ValueError):
            load_key(method, public, private)


def test_the_flag() -> None:
    assert parse_token_options("simple", parse_duration_s) is None
    text = "jwt,pub-key=p,priv-key=q,sign-method=RS512,ttl=10m"
    assert parse_token_options(text, parse_duration_s) == JwtOptions("RS512", "p", "q", 600.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "other",
        "simple,ttl=5m",
        "jwt",
        "jwt,sign-method=RS256",
        "jwt,sign-method=none,pub-key=p",
        "jwt,sign-method=RS256,pub-key=p,ttl=x",
        "jwt,sign-method=RS256,pub-key=p,ttl=0",
        "jwt,sign-method=RS256,pub-key=p,pub-key=q",
        "jwt,sign-method=RS256,pub-key=p,other=x",
    ],
)
def test_a_bad_flag(text: str) -> None:
    with pytest.raises(ValueError):
        parse_token_options(text, parse_duration_s)


def test_the_flags_with_their_files(tmp_path: Path) -> None:
    problems: list[str] = []

    def read(*arguments: str) -> object:
        problems.clear()
        values = read_flags(arguments, {})
        return auth_from_flags(values, lambda flag, text: problems.append(f"{flag}: {text}"))

    (tmp_path / "key").write_bytes(b"shared")
    read(f"--auth-token=jwt,sign-method=HS256,priv-key={tmp_path}/key", "--bcrypt-cost=4")
    assert not problems
    read(f"--auth-token=jwt,sign-method=HS256,priv-key={tmp_path}/missing")
    assert "missing" in problems[0]
    read("--bcrypt-cost=3", "--auth-token-ttl=0")
    assert [one.split(":")[0] for one in problems] == ["bcrypt-cost", "auth-token-ttl"]


def test_base64_without_padding_is_read() -> None:
    """Texts of every length, as the content of a name of every length makes them."""
    for length in range(1, 9):
        token = SimpleToken("n" * length, 1, 2, b"12345678")
        text = simple_token.write(token, SECRET)
        assert "=" not in text
        assert simple_token.read(text, SECRET) == token
