"""How much is answered in one turn of the loop, so that a burst of one client holds nobody up long.

A client may send thousands of requests in one packet, each with an answer of a megabyte. What goes
beyond the budget of a turn waits for the next one, in order; in between, others are heard.
"""

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["TurnBudget"]

TURN_BYTES = 4 << 20
"""Answers encoded in one turn: some milliseconds."""


class TurnBudget:
    """Counts bytes, and keeps what has to wait. Used from the loop only.

    The caller bounds how much may wait: each waiting read is a stream of its client's.
    """

    def __init__(self, bytes_max: int = TURN_BYTES) -> None:
        self._bytes_max = bytes_max
        self._spent = 0
        self._scheduled = False
        self._waiting: deque[Callable[[], object]] = deque()

    def spend(self, size: int) -> None:
        """Count an answer of this turn."""
        self._spent += size
        self._schedule()

    def must_wait(self) -> bool:
        """Say whether an answer has to wait for a later turn, behind those that wait already."""
        return self._spent >= self._bytes_max or bool(self._waiting)

    def defer(self, work: Callable[[], object]) -> None:
        """Do something in a later turn."""
        self._waiting.append(work)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Begin a new turn with what waits; each piece of work spends what it costs."""
        self._scheduled = False
        self._spent = 0
        try:
            while self._waiting and self._spent < self._bytes_max:
                self._waiting.popleft()()
        finally:
            if self._waiting:
                self._schedule()
