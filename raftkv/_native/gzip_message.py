"""Messages that a client packed with gzip, the only packing that etcd takes."""

from __future__ import annotations

import zlib

from raftkv.errors import GrpcStatus

__all__ = ["PackedMessageError", "unpacked"]

GZIP_WINDOW_BITS = 31
"""zlib's way of saying: the largest window, and gzip's header and checksum."""


class PackedMessageError(Exception):
    """A packed message that is refused, with grpc-go's status and text."""

    def __init__(self, status: GrpcStatus, text: str) -> None:
        super().__init__(text)
        self.status = int(status)
        self.text = text


def unpacked(packed: bytes, size_max: int) -> bytes:
    """Return what the gzip member `packed` holds: at most `size_max` bytes, and no more is made.

    Raises PackedMessageError for what is no whole gzip member, or larger.
    """
    inflater = zlib.decompressobj(wbits=GZIP_WINDOW_BITS)
    damaged = "grpc: failed to decompress the received message"
    try:
        message = inflater.decompress(packed, size_max + 1)
    except zlib.error as error:
        raise PackedMessageError(GrpcStatus.INTERNAL, f"{damaged}: {error}") from error
    if len(message) > size_max:
        text = f"grpc: received message after decompression larger than max {size_max}"
        raise PackedMessageError(GrpcStatus.RESOURCE_EXHAUSTED, text)
    if not inflater.eof:
        raise PackedMessageError(GrpcStatus.INTERNAL, f"{damaged}: unexpected EOF")
    return message
