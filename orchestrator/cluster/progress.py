"""Telling a person what is going on: a line a step on standard error, with the seconds it took."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Prints each step once, when it begins; on a terminal in colour, elsewhere plainly."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._started = time.monotonic()
        self._last = ""
        self._colour = stream.isatty()

    def step(self, text: str) -> None:
        """Show a step; the same text again is the same step."""
        if not text or text == self._last:
            return
        self._last = text
        elapsed = f"{time.monotonic() - self._started:6.1f} s"
        if self._colour:
            elapsed = f"\x1b[2m{elapsed}\x1b[0m"
        print(f"{elapsed}  {text}", file=self._stream, flush=True)
