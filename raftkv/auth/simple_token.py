"""Tokens that every member can check by itself, and that live while they are used.

A token is `<base64url of its content>.<base64url of a MAC over it>`. The content: version (1), the
revision of users and roles that it was given out at, when (milliseconds of wall time), 8 random
bytes, the user's name. The MAC's key is a secret of the cluster that is replicated like users are,
so that a token made by one member is good on all, after elections and restarts too, and giving one
out needs no write. A change of the user's password, its deletion, or that of one of its roles
voids its tokens by revision; turning authentication off voids all, with the secret.

Its time runs from its last use. A member tells the others of uses now and then (`is_news`); where
they did not hear of one, the client is asked to authenticate again, and clients do that unasked.
"""

import hashlib
import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections import OrderedDict
from dataclasses import dataclass, field

__all__ = ["NONCE_BYTES", "TOKENS_MAX", "SimpleToken", "TokenUses", "read", "write"]

VERSION = 1
NONCE_BYTES = 8
MAC_BYTES = 16
TOKEN_CHARACTERS_MAX = 4096
_HEADER = struct.Struct(f">BQQ{NONCE_BYTES}s")

TOKENS_MAX = 65536
"""Tokens whose last use is remembered; beyond, the one used longest ago counts from its making."""
NEWS_PARTS = 4
"""A use is news for the other members once this part of the TTL has passed since the last news."""


@dataclass(frozen=True, slots=True)
class SimpleToken:
    """What a token says."""

    name: str
    revision: int
    made_ms: int
    nonce: bytes
    id: bytes = field(init=False)
    """What distinguishes it, 16 bytes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", struct.pack(">Q", self.made_ms) + self.nonce)


def write(token: SimpleToken, secret: bytes) -> str:
    """Return the text of a token."""
    content = _HEADER.pack(VERSION, token.revision, token.made_ms, token.nonce)
    content += token.name.encode()
    return f"{_text(content)}.{_text(_mac(content, secret))}"


def read(text: str, secret: bytes) -> SimpleToken | None:
    """Return what a token says, or None where it was not made with this secret."""
    content_text, dot, mac_text = text.partition(".")
    if not secret or not dot or len(text) > TOKEN_CHARACTERS_MAX:
        return None
    try:
        content, mac = _bytes(content_text), _bytes(mac_text)
    except (Error, ValueError):
        return None
    if len(content) < _HEADER.size or not hmac.compare_digest(mac, _mac(content, secret)):
        return None
    version, revision, made_ms, nonce = _HEADER.unpack_from(content)
    if version != VERSION:
        return None
    return SimpleToken(content[_HEADER.size :].decode(), revision, made_ms, nonce)


class TokenUses:
    """When tokens were last used, as far as this member knows. Times are wall time in ms."""

    def __init__(self, ttl_s: float, tokens_max: int = TOKENS_MAX) -> None:
        self.ttl_ms = round(ttl_s * 1000)
        self._tokens_max = tokens_max
        self._last: OrderedDict[bytes, int] = OrderedDict()
        self._told: dict[bytes, int] = {}

    def is_alive(self, token: SimpleToken, now_ms: int) -> bool:
        """Tell whether a token was made or used within its TTL."""
        return now_ms - max(token.made_ms, self._last.get(token.id, 0)) < self.ttl_ms

    def use(self, token_id: bytes, now_ms: int) -> None:
        """Take note of a use, here or at another member."""
        if now_ms > self._last.get(token_id, 0):
            self._last[token_id] = now_ms
        self._last.move_to_end(token_id)
        if len(self._last) > self._tokens_max:
            oldest, _ = self._last.popitem(last=False)
            self._told.pop(oldest, None)

    def is_news(self, token: SimpleToken, now_ms: int) -> bool:
        """Tell whether the other members should hear of this use, which then counts as told."""
        told = self._told.get(token.id, token.made_ms)
        if now_ms - told < self.ttl_ms // NEWS_PARTS:
            return False
        self._told[token.id] = now_ms
        return True

    def __len__(self) -> int:
        return len(self._last)


def _mac(content: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, content, hashlib.sha256)[:MAC_BYTES]


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
