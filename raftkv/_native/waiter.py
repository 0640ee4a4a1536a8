"""Who waits for the answer to a command."""

from typing import Protocol

__all__ = ["Waiter"]


class Waiter(Protocol):
    """Takes exactly one of both calls: a gRPC stream is one."""

    def reply(self, message: bytes, /) -> object:
        """Take the response message."""

    def fail(self, code: int, text: str, /) -> object:
        """Take a gRPC status and its text."""
