"""Read container logs: files in CRI format, as `kubectl logs` wants to see them.

One record is `<RFC 3339 time> <stdout|stderr> <P|F> <text>`. `P` marks a piece of a line that
goes on in the next record of the same stream; `F` ends the line.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from orchestrator.api.times import parse_time

FOLLOW_INTERVAL_S = 0.1
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`kubectl logs`' options. `since` leaves out what is older; None means no limit."""

    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None


class LogParser:
    """Turn bytes of a log file into lines; feed it chunks of any size."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._rest = b""
        self._inside_line = False
        self._dropping = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield each piece of output that is complete; a last record without its end waits."""
        *records, self._rest = (self._rest + chunk).split(b"\n")
        for record in records:
            yield from self._record(record)

    def _record(self, record: bytes) -> Iterator[bytes]:
        parts = record.split(b" ", 3)
        if len(parts) != 4:
            return  # torn by a crash of the writer
        stamp, _, tag, text = parts
        if not self._inside_line:
            self._dropping = self._too_old(stamp)
            if self._options.timestamps:
                text = stamp + b" " + text
        self._inside_line = tag == b"P"
        if not self._dropping:
            yield text if self._inside_line else text + b"\n"

    def _too_old(self, stamp: bytes) -> bool:
        if self._options.since is None:
            return False
        try:
            return parse_time(stamp.decode()) < self._options.since
        except ValueError:
            return False


async def read_log(
    path: Path, options: LogOptions, still_running: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Yield the log's output; with `follow`, go on until the container has ended.

    Raises FileNotFoundError where there is no log. At most `limit_bytes` are yielded.
    """
    budget = options.limit_bytes
    parser = LogParser(options)
    async for piece in _pieces(path, parser, options, still_running):
        if budget is not None:
            piece = piece[:budget]
            budget -= len(piece)
        if piece:
            yield piece
        if budget == 0:
            return


async def _pieces(
    path: Path, parser: LogParser, options: LogOptions, still_running: Callable[[], bool]
) -> AsyncIterator[bytes]:
    file: BinaryIO = path.open("rb")
    try:
        if options.tail_lines is not None:
            yield b"".join(_tail(file, parser, options.tail_lines))
        while True:
            # Asked before reading: what was written before the end is then surely read.
            running = options.follow and still_running()
            successor = _successor(path, file)
            while chunk := file.read(CHUNK_BYTES):
                if data := b"".join(parser.feed(chunk)):
                    yield data
            if successor is not None:
                file.close()
                file = successor
                continue
            if not running:
                return
            await asyncio.sleep(FOLLOW_INTERVAL_S)
    finally:
        file.close()


def _successor(path: Path, file: BinaryIO) -> BinaryIO | None:
    """Return the log's next file where it has been rotated; the old one is then complete."""
    try:
        if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
            return None
        return path.open("rb")
    except FileNotFoundError:
        return None  # between rename and reopen


def _tail(file: BinaryIO, parser: LogParser, count: int) -> deque[bytes]:
    """Read to the end and return the last `count` lines; memory follows `count`."""
    lines: deque[bytes] = deque(maxlen=max(count, 1))
    line = b""
    while chunk := file.read(CHUNK_BYTES):
        for piece in parser.feed(chunk):
            line += piece
            if piece.endswith(b"\n"):
                lines.append(line)
                line = b""
    if line:
        lines.append(line)
    if count == 0:
        lines.clear()
    return lines
