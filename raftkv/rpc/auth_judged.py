"""Streams whose answers are judged as they leave, because what they tell was read in between."""

from collections.abc import Callable

from raftkv._native.http2 import Stream
from raftkv._native.waiter import Waiter
from raftkv.errors import ERRORS, ErrorCode

__all__ = ["JudgedStream", "is_judged"]


class JudgedStream:
    """A stream whose answers are judged as they leave; in all else it is the stream itself."""

    __slots__ = ("judge", "stream")

    def __init__(self, stream: Stream) -> None:
        object.__setattr__(self, "stream", stream)
        object.__setattr__(self, "judge", None)

    stream: Stream
    judge: Callable[[], ErrorCode | None] | None

    def watch_over(self, judge: Callable[[], ErrorCode | None]) -> None:
        """Ask `judge` before each message from now on."""
        object.__setattr__(self, "judge", judge)

    def reply(self, message: bytes) -> bool:
        """Send the answer, unless its caller may not have it any more."""
        refusal = self.judge() if self.judge else None
        if refusal:
            return bool(self.stream.fail(*ERRORS[refusal]))
        return bool(self.stream.reply(message))

    def send(self, head: bytes, tail: bytes | None = None) -> bool:
        """Send one message of several, unless its caller may not have it any more."""
        refusal = self.judge() if self.judge else None
        if refusal:
            return bool(self.stream.finish(*ERRORS[refusal]))
        return bool(self.stream.send(head, tail))

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.stream, name, value)


def is_judged(waiter: Waiter) -> bool:
    """Tell whether a read's answer goes to who was judged, and will be once more."""
    return isinstance(waiter, JudgedStream)
