"""Who calls: the token among a call's metadata, else the client certificate's common name."""

from raftkv._native.http2 import Stream
from raftkv.errors import ErrorCode
from raftkv.rpc.auth_tokens import Tokens

__all__ = ["NOBODY", "Identity"]

TOKEN, AUTHORIZATION = b"token", b"authorization"
"""Metadata keys, the stronger first."""
BEARER = "bearer "

NOBODY = ""
"""The name of a caller who says nothing; no user has it."""


class Identity:
    """Tells the name of a caller."""

    def __init__(self, tokens: Tokens, common_names: bool) -> None:
        """`common_names`: a verified client certificate's CN is a user's name."""
        self._tokens = tokens
        self._common_names = common_names

    def of(self, stream: Stream) -> str | ErrorCode:
        """Return the caller's name, NOBODY, or why the token that it gives is not good."""
        token = _token(stream.metadata)
        if token is not None:
            return self._tokens.resolve(token)
        if self._common_names:
            return getattr(stream, "peer_common_name", NOBODY)
        return NOBODY


def _token(metadata: list[tuple[bytes, bytes]]) -> str | None:
    """Return the token that metadata holds; bytes that are no ASCII make one that is not good."""
    found: dict[bytes, bytes] = {}
    for key, value in metadata:
        if key in (TOKEN, AUTHORIZATION):
            found.setdefault(key, value)
    given = found.get(TOKEN, found.get(AUTHORIZATION))
    if given is None:
        return None
    text = given.decode("ascii", "replace")
    return text[len(BEARER) :] if text.lower().startswith(BEARER) else text
