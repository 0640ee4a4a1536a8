"""From exceptions to what gRPC says at the end of a call."""

from __future__ import annotations

import asyncio
import logging

from google.protobuf.message import DecodeError

from raftkv.errors import GrpcStatus, StoreError

log = logging.getLogger(__name__)


class RpcError(Exception):
    """A call refused with a status that no row of `raftkv.errors.ERRORS` has."""

    def __init__(self, status: GrpcStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def status_of(error: BaseException) -> tuple[int, str]:
    """Return the status code and text that tell `error` to a client, in grpc-go's words.

    What no client should see in detail is logged and becomes INTERNAL.
    """
    match error:
        case RpcError() | StoreError():
            return int(error.status), error.text
        case TimeoutError():
            return int(GrpcStatus.DEADLINE_EXCEEDED), "context deadline exceeded"
        case asyncio.CancelledError():
            return int(GrpcStatus.CANCELED), "context canceled"
        case DecodeError():
            return (
                int(GrpcStatus.INTERNAL),
                f"grpc: error unmarshalling request: {error}",
            )
        case _:
            log.error("call failed", exc_info=error)
            return int(GrpcStatus.INTERNAL), "internal error"
