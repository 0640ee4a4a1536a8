"""Linearizable reads: one ReadIndex round serves all that wait (Raft dissertation §6.4).

Reads that arrive while a round is under way join the next one: the round's index may be older than
they are. A confirmed round waits until its index is applied here; then its reads are served from
the local store.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from raftkv._native.waiter import Waiter
from raftkv.errors import ErrorCode
from raftkv.server.command import fail_with

__all__ = ["READS_MAX", "RETRY_S", "ReadRounds", "Serve"]

RETRY_S = 0.5
"""When an unanswered round is asked for again: its messages may have been lost."""

READS_MAX = 65536
"""Reads that may wait; one more is refused with `too many requests`."""

Serve = Callable[[Waiter, bytes], object]
"""Answers one request from the local store."""

Read = tuple[Serve, Waiter, bytes]


@dataclass(slots=True)
class _Round:
    contexts: list[int]
    """One each time that it was asked: every one of their answers is good."""
    reads: list[Read]
    started: float
    deadline: float
    index: int = 0
    """What must be applied; 0 until confirmed."""


class ReadRounds:
    """All linearizable reads of one member. Used from the loop only."""

    def __init__(self, first_context: int, timeout_s: float) -> None:
        """`first_context` must differ between lives of a member, so that no late answer fits."""
        self.timeout_s = timeout_s
        self.slow_count = 0
        self.failed_count = 0
        self._next_context = first_context
        self._waiting: list[Read] = []
        self._oldest: float = 0.0
        """When the first of `_waiting` came; 0 when unknown or none waits."""
        self._asked: _Round | None = None
        self._confirmed: deque[_Round] = deque()
        self._count = 0

    def add(self, serve: Serve, waiter: Waiter, request: bytes) -> None:
        """Queue one read; the caller sees to it that `begin` runs at the end of the turn."""
        if self._count >= READS_MAX:
            fail_with(waiter, ErrorCode.REQUEST_TOO_MANY_REQUESTS)
            return
        self._count += 1
        self._waiting.append((serve, waiter, request))

    @property
    def count(self) -> int:
        """Reads without an answer."""
        return self._count

    @property
    def wants_round(self) -> bool:
        """Whether reads wait for a round to begin, and none is under way."""
        return bool(self._waiting) and self._asked is None

    def begin(self, now: float, ask: Callable[[int], bool]) -> None:
        """Start a round for all that wait, unless one is under way or `ask` cannot be done now.

        `ask(context)` starts ReadIndex, and returns False when there is nobody to ask.
        """
        if not self._waiting:
            return
        if self._oldest == 0.0:
            self._oldest = now
        if self._asked is not None:
            return
        context = self._ask(ask)
        if not context:
            return
        self._asked = _Round([context], self._waiting, now, self._oldest + self.timeout_s)
        self._waiting = []
        self._oldest = 0.0

    def ask_again(self, now: float, ask: Callable[[int], bool]) -> None:
        """Repeat the question under way: the leader changed, or no answer came."""
        if self._asked is not None:
            context = self._ask(ask)
            if context:
                self._asked.contexts.append(context)
                self._asked.started = now

    def _ask(self, ask: Callable[[int], bool]) -> int:
        """Ask with a context never used before, and return it; 0 if nobody could be asked."""
        context = self._next_context
        if not ask(context):
            return 0
        self._next_context += 1
        return context

    def confirm(self, context: int, index: int) -> None:
        """Take the answer of a round; answers to anything else are ignored."""
        asked = self._asked
        if asked is not None and context in asked.contexts:
            asked.index = index
            self._confirmed.append(asked)
            self._asked = None

    def serve(self, applied_index: int) -> None:
        """Serve every confirmed round whose index is applied."""
        while self._confirmed and self._confirmed[0].index <= applied_index:
            reads = self._confirmed.popleft().reads
            self._count -= len(reads)
            for answer, waiter, request in reads:
                answer(waiter, request)

    def tick(self, now: float, ask: Callable[[int], bool]) -> None:
        """Ask again where no answer came, and fail what waited too long."""
        asked = self._asked
        if asked is not None:
            if now >= asked.deadline:
                self._asked = None
                self._fail(asked.reads, ErrorCode.TIMEOUT)
            elif now - asked.started >= RETRY_S:
                self.slow_count += 1
                self.ask_again(now, ask)
        while self._confirmed and now >= self._confirmed[0].deadline:
            self._fail(self._confirmed.popleft().reads, ErrorCode.TIMEOUT_WAIT_APPLIED_INDEX)
        if self._waiting and 0.0 < self._oldest <= now - self.timeout_s:
            waiting, self._waiting, self._oldest = self._waiting, [], 0.0
            self._fail(waiting, ErrorCode.NO_LEADER if asked is None else ErrorCode.TIMEOUT)

    def close(self) -> None:
        """Fail everything: the member stops."""
        rounds = [*self._confirmed] + ([self._asked] if self._asked else [])
        for reads in (*(one.reads for one in rounds), self._waiting):
            self._fail(reads, ErrorCode.STOPPED)
        self._confirmed.clear()
        self._asked = None
        self._waiting = []

    def _fail(self, reads: list[Read], code: ErrorCode) -> None:
        self._count -= len(reads)
        self.failed_count += len(reads)
        for _, waiter, _ in reads:
            fail_with(waiter, code)
