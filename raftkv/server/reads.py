"""Linearizable reads: one ReadIndex round serves all that wait (Raft dissertation §6.4).

Reads that arrive while a round is under way join the next one: the round's index may be older than
they are. A few rounds may be under way at once. A confirmed round waits until its index is applied
here; then its reads are served from the local store.
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

ROUNDS_MAX = 4
"""Rounds under way: while one waits for its answer, what came since need not."""

SENT_TOGETHER = 128
"""Answers that are made before they are sent."""

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
        self.waiting: list[Read] = []
        """For the next round. Who appends here keeps to READS_MAX, and to what `add` says."""
        self._oldest: float = 0.0
        """When the first of `waiting` came; 0 when unknown or none waits."""
        self._asked: deque[_Round] = deque()
        self._confirmed: deque[_Round] = deque()
        self._in_rounds = 0

    def add(self, serve: Serve, waiter: Waiter, request: bytes) -> None:
        """Queue one read; the caller sees to it that `begin` runs at the end of the turn."""
        if self.count >= READS_MAX:
            fail_with(waiter, ErrorCode.REQUEST_TOO_MANY_REQUESTS)
            return
        self.waiting.append((serve, waiter, request))

    @property
    def count(self) -> int:
        """Reads without an answer."""
        return len(self.waiting) + self._in_rounds

    @property
    def wants_round(self) -> bool:
        """Whether reads wait for a round, and one may begin."""
        return bool(self.waiting) and len(self._asked) < ROUNDS_MAX

    def begin(self, now: float, ask: Callable[[int], bool]) -> None:
        """Start a round for all that wait, unless enough are under way or `ask` cannot be done now.

        `ask(context)` starts ReadIndex, and returns False when there is nobody to ask.
        """
        if not self.waiting:
            return
        if self._oldest == 0.0:
            self._oldest = now
        if len(self._asked) >= ROUNDS_MAX:
            return
        context = self._ask(ask)
        if not context:
            return
        reads = self._take_waiting()
        self._asked.append(_Round([context], reads, now, self._oldest + self.timeout_s))
        self._in_rounds += len(reads)
        self._oldest = 0.0

    def ask_again(self, now: float, ask: Callable[[int], bool]) -> None:
        """Repeat the questions under way: the leader changed, or no answer came.

        The latest one will do: its answer is good for all that were asked before it.
        """
        if self._asked:
            context = self._ask(ask)
            if context:
                self._asked[-1].contexts.append(context)
                for one in self._asked:
                    one.started = now

    def _ask(self, ask: Callable[[int], bool]) -> int:
        """Ask with a context never used before, and return it; 0 if nobody could be asked."""
        context = self._next_context
        if not ask(context):
            return 0
        self._next_context += 1
        return context

    def confirm(self, context: int, index: int) -> None:
        """Take the answer of a round, and so of all before it; any other answer is ignored.

        The index was committed after those reads came, too, and is not below theirs.
        """
        if not any(context in one.contexts for one in self._asked):
            return
        while True:
            one = self._asked.popleft()
            one.index = index
            self._confirmed.append(one)
            if context in one.contexts:
                return

    def serve(self, applied_index: int, send: Callable[[], object]) -> None:
        """Serve every confirmed round whose index is applied.

        `send` is called now and then: clients work on the first answers while the others are made.
        """
        while self._confirmed and self._confirmed[0].index <= applied_index:
            reads = self._confirmed.popleft().reads
            self._in_rounds -= len(reads)
            for start in range(0, len(reads), SENT_TOGETHER):
                for answer, waiter, request in reads[start : start + SENT_TOGETHER]:
                    answer(waiter, request)
                send()

    def tick(self, now: float, ask: Callable[[int], bool]) -> None:
        """Ask again where no answer came, and fail what waited too long."""
        while self._asked and now >= self._asked[0].deadline:
            self._fail_round(self._asked.popleft(), ErrorCode.TIMEOUT)
        if self._asked and now - self._asked[0].started >= RETRY_S:
            self.slow_count += 1
            self.ask_again(now, ask)
        while self._confirmed and now >= self._confirmed[0].deadline:
            self._fail_round(self._confirmed.popleft(), ErrorCode.TIMEOUT_WAIT_APPLIED_INDEX)
        if self.waiting and 0.0 < self._oldest <= now - self.timeout_s:
            self._oldest = 0.0
            code = ErrorCode.TIMEOUT if self._asked else ErrorCode.NO_LEADER
            self._fail(self._take_waiting(), code)

    def close(self) -> None:
        """Fail everything: the member stops."""
        for one in (*self._confirmed, *self._asked):
            self._fail_round(one, ErrorCode.STOPPED)
        self._confirmed.clear()
        self._asked.clear()
        self._fail(self._take_waiting(), ErrorCode.STOPPED)

    def _take_waiting(self) -> list[Read]:
        """Empty the list that others append to, too."""
        taken = self.waiting.copy()
        self.waiting.clear()
        return taken

    def _fail_round(self, one: _Round, code: ErrorCode) -> None:
        self._in_rounds -= len(one.reads)
        self._fail(one.reads, code)

    def _fail(self, reads: list[Read], code: ErrorCode) -> None:
        self.failed_count += len(reads)
        for _, waiter, _ in reads:
            fail_with(waiter, code)
