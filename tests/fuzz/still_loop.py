"""A loop whose time moves only when told to, and the far side of a connection on it."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

TURNS = 6
"""Turns of the loop after which all that follows from one event has happened."""


class StillLoop(asyncio.SelectorEventLoop):
    """Runs what is ready; timers are due when `now` is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__()

    def time(self) -> float:
        return self.now


@functools.cache
def still_loop() -> StillLoop:
    """Return the one loop of the process; it holds nothing between inputs."""
    return StillLoop()


async def turns(count: int = TURNS) -> None:
    """Let others run."""
    for _ in range(count):
        await asyncio.sleep(0)


class Pipe(asyncio.Transport):
    """A transport that counts what is written to it; its client reads unless told not to."""

    def __init__(self) -> None:
        super().__init__()
        self.written_while_deaf = 0
        """What a client that does not read is owed."""
        self.closing = False
        self._deaf: asyncio.BaseProtocol | None = None
        self._high_bytes = 65536

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._deaf is None:
            return
        before = self.written_while_deaf
        self.written_while_deaf += len(data)
        if before <= self._high_bytes < self.written_while_deaf:
            self._deaf.pause_writing()

    def stop_taking(self, protocol: asyncio.BaseProtocol) -> None:
        """Let what is written pile up from now on."""
        self._deaf = protocol

    def take_again(self, protocol: asyncio.BaseProtocol) -> None:
        """Take all that has piled up, and what comes."""
        was_full = self.written_while_deaf > self._high_bytes
        self._deaf = None
        self.written_while_deaf = 0
        if was_full:
            protocol.resume_writing()

    def write_eof(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.written_while_deaf

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high_bytes = high or self._high_bytes

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True
