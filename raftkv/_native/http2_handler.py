"""What methods make of their streams, beyond a function of one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from raftkv._native.http2_stream import Stream
    from raftkv._native.padded_message import PaddedMessage


class StreamHandler(Protocol):
    """The request side of one streaming call; every method is called synchronously."""

    def on_message(self, message: bytes, /) -> None:
        """Take one complete request message."""

    def on_half_close(self) -> None:
        """Learn that the client will send no more; answers may still follow."""

    def on_closed(self) -> None:
        """Learn, once, that the stream has ended: finished, reset, or connection lost."""


class LargeHandler(Protocol):
    """Handles large requests of a unary method where the plain handler would have to copy them."""

    def headroom(self, size: int, /) -> int:
        """Return how many bytes it wants in front of a message of `size` that begins to arrive.

        0: the plain handler is to have the message.
        """

    def on_large(self, stream: Stream, message: PaddedMessage, /) -> None:
        """Take one complete request, in the plain handler's place."""
