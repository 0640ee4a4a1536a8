"""How long a container that keeps ending, or an image that keeps missing, waits.

The first restart is immediate; then 10 s, doubled each time, 300 s at most. Ten minutes without a
restart forget the past. Time is an argument, in seconds of any steady clock.
"""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_S = 10.0
MAX_S = 300.0
RESET_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class _Entry:
    delay_s: float
    updated_at: float


class RestartBackoff:
    """Delays by name; the owner drops the whole object with its pod."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def delay_s(self, name: str, now: float) -> float:
        """Return how long after its end `name` must wait before it is started again."""
        entry = self._entries.get(name)
        if entry is None or now - entry.updated_at > entry.delay_s + RESET_AFTER_S:
            return 0.0
        return entry.delay_s

    def advance(self, name: str, now: float) -> None:
        """Record a restart (or failed attempt): the next one has to wait longer."""
        delay_s = self.delay_s(name, now)
        longer_s = min(delay_s * 2, MAX_S) if delay_s else INITIAL_S
        self._entries[name] = _Entry(longer_s, now)
