"""A client's message with room in front of it; see the .pxd."""

from typing import final

@final
class PaddedMessage:
    """One message. ValueError once its bytes were taken, which only native code can."""

    def __init__(self, message: bytes, headroom: int) -> None:
        """Copy a message; those of clients are received in place."""
    @property
    def headroom(self) -> int: ...
    def message(self) -> bytes: ...
