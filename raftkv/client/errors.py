"""What a server can answer instead of a result.

etcd's clients tell errors apart by their text, so the texts are matched here, once, and become
classes.
"""

from __future__ import annotations

import grpc


class ClientError(Exception):
    """The server refused or failed a request.

    `code` is the gRPC status code and `message` the server's text, unchanged.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{message} ({code.name})")
        self.code = code
        self.message = message


class CompactedError(ClientError):
    """The revision asked for has been compacted away."""


class FutureRevisionError(ClientError):
    """The revision asked for has not been written yet."""


class LeaseNotFoundError(ClientError):
    """The lease does not exist, or has expired."""


class UnavailableError(ClientError):
    """No member could serve the request. For a write, its outcome may be unknown.

    `unsent` is true where the request never left this process, so that repeating a write is safe.
    """

    def __init__(self, code: grpc.StatusCode, message: str, *, unsent: bool = False) -> None:
        super().__init__(code, message)
        self.unsent = unsent


BY_TEXT: dict[str, type[ClientError]] = {
    "etcdserver: mvcc: required revision has been compacted": CompactedError,
    "etcdserver: mvcc: required revision is a future revision": FutureRevisionError,
    "etcdserver: requested lease not found": LeaseNotFoundError,
}

UNSENT_TEXTS = ("failed to connect to all addresses", "Connection refused", "DNS resolution failed")
"""Beginnings of gRPC's own texts for requests that found no connection to leave by."""


def from_rpc_error(error: grpc.aio.AioRpcError) -> ClientError:
    """Turn gRPC's exception into ours; raise the result `from` it."""
    code, message = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        unsent = any(text in message for text in UNSENT_TEXTS)
        return UnavailableError(code, message, unsent=unsent)
    return BY_TEXT.get(message, ClientError)(code, message)
