"""What a streaming method makes of each of its streams."""

from typing import Protocol


class StreamHandler(Protocol):
    """The request side of one streaming call; every method is called synchronously."""

    def on_message(self, message: bytes, /) -> None:
        """Take one complete request message."""

    def on_half_close(self) -> None:
        """Learn that the client will send no more; answers may still follow."""

    def on_closed(self) -> None:
        """Learn, once, that the stream has ended: finished, reset, or connection lost."""
