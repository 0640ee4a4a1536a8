"""Streams with a say in what is answered: reads are judged as they leave, writes tried again."""

from collections.abc import Callable

from raftkv._native.http2 import Stream
from raftkv._native.waiter import Waiter
from raftkv.errors import ERRORS, ErrorCode

__all__ = ["JudgedStream", "is_judged"]

OLD_REVISION = ERRORS[ErrorCode.AUTH_OLD_REVISION]


class JudgedStream:
    """A stream whose answers are looked at first; in all else it is the stream itself."""

    __slots__ = ("again", "judge", "stream")

    stream: Stream
    judge: Callable[[], ErrorCode | None] | None
    again: Callable[[], object] | None

    def __init__(self, stream: Stream) -> None:
        for name, value in (("stream", stream), ("judge", None), ("again", None)):
            object.__setattr__(self, name, value)

    def watch_over(self, judge: Callable[[], ErrorCode | None]) -> None:
        """Ask `judge` before each message from now on."""
        object.__setattr__(self, "judge", judge)

    def try_again(self, again: Callable[[], object]) -> None:
        """Call `again` once in the place of the failure that users have changed meanwhile."""
        object.__setattr__(self, "again", again)

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

    def begin_large(self, size: int) -> bool:
        """Begin one message of pieces; it is judged as a whole, here."""
        refusal = self.judge() if self.judge else None
        if refusal:
            self.stream.fail(*ERRORS[refusal])
            return False
        object.__setattr__(self, "judge", None)
        return bool(self.stream.begin_large(size))

    def fail(self, code: int, text: str) -> bool:
        """End with an error, or begin anew where that can be cured."""
        return self.finish(code, text)

    def finish(self, code: int = 0, text: str = "") -> bool:
        """End with a status, or begin anew where that can be cured."""
        again = self.again
        if again is None or (code, text) != OLD_REVISION:
            return bool(self.stream.finish(code, text))
        object.__setattr__(self, "again", None)
        again()
        return True

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.stream, name, value)


def is_judged(waiter: Waiter) -> bool:
    """Tell whether a read's answer goes to who was judged, and will be once more."""
    return isinstance(waiter, JudgedStream) and waiter.judge is not None
