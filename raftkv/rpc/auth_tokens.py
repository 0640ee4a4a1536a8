"""Tokens on the wire: made for who has proved a name, read at every call."""

import secrets
from collections.abc import Callable
from typing import Protocol

from raftkv.auth.jwt import Claims, JwtKey
from raftkv.auth.simple_token import NONCE_BYTES, SimpleToken, TokenUses, read, write
from raftkv.auth.store import AuthStore
from raftkv.errors import ErrorCode, GrpcStatus
from raftkv.rpc.grpc_status import RpcError

__all__ = ["JwtTokens", "SimpleTokens", "Tokens"]

VERIFY_ONLY = "token was signed by private key, but the server only has the public key"


READ_MAX = 4096
"""Good tokens of which the content is remembered, to spare the MAC; then all are forgotten."""


class Tokens(Protocol):
    """One kind of token."""

    def resolve(self, text: str) -> str | ErrorCode:
        """Return whose token it is, or why it is not good."""

    def make(self, name: str) -> str:
        """Return a new token. Raises RpcError where this member can make none."""


class SimpleTokens:
    """Tokens that the cluster's secret signs, good on every member while they are used."""

    def __init__(
        self,
        store: AuthStore,
        ttl_s: float,
        now_s: Callable[[], float],
        tell_use: Callable[[bytes, int], object],
    ) -> None:
        """`tell_use(token id, milliseconds)` lets the other members know of a use."""
        self._store = store
        self._now_s = now_s
        self._tell_use = tell_use
        self.uses = TokenUses(ttl_s)
        self._read: dict[str, SimpleToken] = {}
        """Texts whose MAC was found good with `_secret`."""
        self._secret = b""

    def resolve(self, text: str) -> str | ErrorCode:
        """Read a token, and count this as a use."""
        token = self._token(text)
        if token is None:
            return ErrorCode.INVALID_AUTH_TOKEN
        since, now_ms = self._store.tokens_since(token.name), round(self._now_s() * 1000)
        if since is None or token.revision < since or not self.uses.is_alive(token, now_ms):
            return ErrorCode.INVALID_AUTH_TOKEN
        self.uses.use(token.id, now_ms)
        if self.uses.is_news(token, now_ms):
            self._tell_use(token.id, now_ms)
        return token.name

    def _token(self, text: str) -> SimpleToken | None:
        secret = self._store.secret
        if secret != self._secret or len(self._read) >= READ_MAX:
            self._secret = secret
            self._read.clear()
        token = self._read.get(text)
        if token is None:
            token = read(text, secret)
            if token is not None:
                self._read[text] = token
        return token

    def make(self, name: str) -> str:
        """Give out a token as of now."""
        nonce, made_ms = secrets.token_bytes(NONCE_BYTES), round(self._now_s() * 1000)
        token = SimpleToken(name, self._store.revision, made_ms, nonce)
        return write(token, self._store.secret)


class JwtTokens:
    """JSON Web Tokens; good where whoever holds the key says so."""

    def __init__(
        self, store: AuthStore, key: JwtKey, ttl_s: float, now_s: Callable[[], float]
    ) -> None:
        self._store = store
        self._key = key
        self._ttl_s = ttl_s
        self._now_s = now_s

    def resolve(self, text: str) -> str | ErrorCode:
        """Read a token; one of an older revision is good for nothing but a hint to get another."""
        claims = self._key.read(text, self._now_s())
        if claims is None:
            return ErrorCode.INVALID_AUTH_TOKEN
        if claims.revision < self._store.revision:
            return ErrorCode.AUTH_OLD_REVISION
        return claims.name

    def make(self, name: str) -> str:
        """Sign a token as of now."""
        if self._key.sign is None:
            raise RpcError(GrpcStatus.UNKNOWN, VERIFY_ONLY)
        expires_s = int(self._now_s() + self._ttl_s)
        return self._key.write(Claims(name, self._store.revision, expires_s))
