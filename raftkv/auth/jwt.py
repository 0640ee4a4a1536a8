"""JSON Web Tokens (RFC 7519, JWS compact form) with etcd's three claims.

Claims: `username`, `revision` (of users and roles when it was made; an older one than the present
is refused by the permission check, not here), `exp`. The signing method is fixed by the flags: a
token that names another one in its header is refused, `none` above all.
"""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.x509 import load_pem_x509_certificate

__all__ = ["METHODS", "Claims", "JwtKey", "load_key"]

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
CURVES: dict[str, type[ec.EllipticCurve]] = {
    "256": ec.SECP256R1,
    "384": ec.SECP384R1,
    "512": ec.SECP521R1,
}
METHODS = (
    *(family + size for family in ("HS", "RS", "PS", "ES") for size in HASHES),
    "EdDSA",
)
TOKEN_CHARACTERS_MAX = 16384


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says."""

    name: str
    revision: int
    expires_s: int
    """Unix time."""


@dataclass(frozen=True, slots=True)
class JwtKey:
    """A signing method with its key; `sign` is None where there is only a public key."""

    method: str
    sign: Callable[[bytes], bytes] | None
    verify: Callable[[bytes, bytes], bool]
    """(signed text, signature) -> whether it is good."""

    def write(self, claims: Claims) -> str:
        """Return a signed token. Call only where `sign` is there."""
        assert self.sign is not None
        header = {"alg": self.method, "typ": "JWT"}
        body = {"exp": claims.expires_s, "revision": claims.revision, "username": claims.name}
        signed = f"{_text(json.dumps(header).encode())}.{_text(json.dumps(body).encode())}"
        return f"{signed}.{_text(self.sign(signed.encode()))}"

    def read(self, token: str, now_s: float) -> Claims | None:
        """Return what a good token says; None for a forged, expired or strange one."""
        parts = token.split(".")
        if len(parts) != 3 or len(token) > TOKEN_CHARACTERS_MAX:
            return None
        try:
            header, body = json.loads(_bytes(parts[0])), json.loads(_bytes(parts[1]))
            signature = _bytes(parts[2])
            if not isinstance(header, dict) or header.get("alg") != self.method:
                return None
            if not self.verify(f"{parts[0]}.{parts[1]}".encode(), signature):
                return None
        except (Error, ValueError, RecursionError):
            return None
        return _claims(body, now_s)


def _claims(body: object, now_s: float) -> Claims | None:
    if not isinstance(body, dict):
        return None
    name, revision = body.get("username"), _number(body.get("revision"))
    expires, not_before = _number(body.get("exp")), _number(body.get("nbf", 0))
    if not isinstance(name, str) or revision is None or expires is None or not_before is None:
        return None
    if not not_before <= now_s < expires:
        return None
    return Claims(name, int(revision), int(expires))


def _number(value: object) -> float | None:
    """Return a JSON number of a sane size; `true` is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1 << 62:
        return None
    return value


def load_key(method: str, public_pem: bytes, private_pem: bytes) -> JwtKey:
    """Read the keys for a signing method; either may be empty, not both.

    With HS* the key is the file's bytes, whichever file is given. Raises ValueError.
    """
    if method not in METHODS:
        raise ValueError(f"unknown sign-method {method!r}; known are {', '.join(METHODS)}")
    if not public_pem and not private_pem:
        raise ValueError("needs pub-key or priv-key")
    if method.startswith("HS"):
        return _hmac_key(method, private_pem or public_pem)
    private = serialization.load_pem_private_key(private_pem, None) if private_pem else None
    public = _public(public_pem) if public_pem else private.public_key() if private else None
    if method == "EdDSA":
        return _eddsa_key(private, public)
    if method.startswith("ES"):
        return _ecdsa_key(method, private, public)
    return _rsa_key(method, private, public)


def _public(pem: bytes) -> object:
    if b"BEGIN CERTIFICATE" in pem:
        return load_pem_x509_certificate(pem).public_key()
    return serialization.load_pem_public_key(pem)


def _hmac_key(method: str, key: bytes) -> JwtKey:
    digest = getattr(hashlib, f"sha{method[2:]}")

    def sign(text: bytes) -> bytes:
        return hmac.digest(key, text, digest)

    return JwtKey(method, sign, lambda text, given: hmac.compare_digest(sign(text), given))


def _rsa_key(method: str, private: object, public: object) -> JwtKey:
    if not isinstance(public, rsa.RSAPublicKey):
        raise ValueError(f"{method} needs RSA keys")
    digest = HASHES[method[2:]]()
    pad: padding.AsymmetricPadding = padding.PKCS1v15()
    if method.startswith("PS"):
        pad = padding.PSS(padding.MGF1(digest), digest.digest_size)

    def verify(text: bytes, signature: bytes) -> bool:
        return _is_good(lambda: public.verify(signature, text, pad, digest))

    if private is None:
        return JwtKey(method, None, verify)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ValueError(f"{method} needs RSA keys")
    return JwtKey(method, lambda text: private.sign(text, pad, digest), verify)


def _ecdsa_key(method: str, private: object, public: object) -> JwtKey:
    curve = CURVES[method[2:]]
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, curve):
        raise ValueError(f"{method} needs keys on curve {curve.name}")
    digest = HASHES[method[2:]]()
    size = (public.curve.key_size + 7) // 8

    def verify(text: bytes, signature: bytes) -> bool:
        if len(signature) != 2 * size:
            return False
        halves = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
        encoded = encode_dss_signature(*halves)
        return _is_good(lambda: public.verify(encoded, text, ec.ECDSA(digest)))

    if private is None:
        return JwtKey(method, None, verify)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{method} needs keys on curve {curve.name}")

    def sign(text: bytes) -> bytes:
        halves = decode_dss_signature(private.sign(text, ec.ECDSA(digest)))
        return b"".join(half.to_bytes(size, "big") for half in halves)

    return JwtKey(method, sign, verify)


def _eddsa_key(private: object, public: object) -> JwtKey:
    if not isinstance(public, ed25519.Ed25519PublicKey):
        raise ValueError("EdDSA needs Ed25519 keys")

    def verify(text: bytes, signature: bytes) -> bool:
        return _is_good(lambda: public.verify(signature, text))

    if private is None:
        return JwtKey("EdDSA", None, verify)
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise ValueError("EdDSA needs Ed25519 keys")
    return JwtKey("EdDSA", private.sign, verify)


def _is_good(check: Callable[[], None]) -> bool:
    try:
        check()
    except InvalidSignature:
        return False
    return True


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
