"""What happened in one run, line by line, and one number for all of it."""

from __future__ import annotations

import hashlib

__all__ = ["Trace"]


class Trace:
    """The lines of one run. Equal seeds give equal lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, time_us: int, who: str, what: str) -> None:
        """Add a line."""
        self.lines.append(f"{time_us / 1e6:11.6f} {who:<4} {what}")

    def digest(self) -> str:
        """Return a hash over all lines."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    def text(self) -> str:
        """Return all lines."""
        return "\n".join(self.lines) + "\n"
