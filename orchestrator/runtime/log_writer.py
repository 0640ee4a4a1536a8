"""Write a process's output as a CRI log: one thread reads both pipes, line by line."""

from __future__ import annotations

import os
import selectors
import threading
from datetime import UTC, datetime
from pathlib import Path

RECORD_BYTES_MAX = 16 * 1024
"""A longer line is cut into records marked P, as container runtimes do."""


def format_records(stream: str, data: bytes, now: datetime) -> tuple[bytes, bytes]:
    """Return (records of the complete lines, the rest). Lines too long are cut."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%f").encode() + b"000Z"
    prefix = stamp + b" " + stream.encode()
    *lines, rest = data.split(b"\n")
    records = []
    for line in lines:
        while len(line) > RECORD_BYTES_MAX:
            records.append(prefix + b" P " + line[:RECORD_BYTES_MAX] + b"\n")
            line = line[RECORD_BYTES_MAX:]
        records.append(prefix + b" F " + line + b"\n")
    while len(rest) >= RECORD_BYTES_MAX:
        records.append(prefix + b" P " + rest[:RECORD_BYTES_MAX] + b"\n")
        rest = rest[RECORD_BYTES_MAX:]
    return b"".join(records), rest


class LogWriter:
    """Follows the read ends of two pipes, which it owns, until both are closed."""

    def __init__(self, path: Path, stdout: int, stderr: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Here, not in the thread: a started container has a log, be it empty.
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._pipes = {stdout: "stdout", stderr: "stderr"}
        self._thread = threading.Thread(target=self._run, name=f"log {path.name}", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until everything is written, at most `timeout_s`."""
        self._thread.join(timeout_s)

    def reopen(self) -> None:
        """Go on in a new file of the same name: somebody has renamed the old one."""
        with self._lock:
            if not self._file.closed:
                self._file.close()
                self._file = self._path.open("ab", buffering=0)

    def _run(self) -> None:
        rests = dict.fromkeys(self._pipes, b"")
        with selectors.DefaultSelector() as selector:
            for pipe in self._pipes:
                selector.register(pipe, selectors.EVENT_READ)
            while rests:
                for key, _ in selector.select():
                    self._read(key.fd, rests, selector)
        with self._lock:
            self._file.close()

    def _read(
        self,
        pipe: int,
        rests: dict[int, bytes],
        selector: selectors.BaseSelector,
    ) -> None:
        chunk = os.read(pipe, RECORD_BYTES_MAX)
        # The end of the output ends its last line, newline or not.
        data = rests[pipe] + (chunk or (b"\n" if rests[pipe] else b""))
        records, rests[pipe] = format_records(self._pipes[pipe], data, datetime.now(UTC))
        if records:
            with self._lock:
                self._file.write(records)
        if not chunk:
            selector.unregister(pipe)
            os.close(pipe)
            del rests[pipe]
