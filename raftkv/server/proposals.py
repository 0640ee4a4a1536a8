"""Commands on their way into the log, from the client's stream to the applied entry.

Commands that arrive in one turn of the loop are gathered into one batch. A batch is made for one
*term*: the leader of that term proposes it, or nobody (a follower sends the term along).
Terms in the log never go back, so the first applied entry of a later term settles every
batch of earlier terms: what was not applied by then never will be. Clients are told at once, and
it was not executed. Only where no such entry comes within the request timeout does a client hear
`request timed out`, and then the outcome is unknown.

Nothing here is ever proposed twice.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from raftkv._native.command_batch import CommandBatch
from raftkv._native.waiter import Waiter
from raftkv.auth.command import bare
from raftkv.errors import ErrorCode
from raftkv.server.auth_stamp import CHECKED
from raftkv.server.command import CommandKind, NobodyWaits, fail_with

__all__ = ["Batch", "Fate", "ProposalLimits", "Proposals", "timeout_code"]

ALONE = frozenset(
    {
        CommandKind.COMPACTION,
        CommandKind.MEMBER_RECORD,
        CommandKind.ALARM,
        CommandKind.AUTH,
        CommandKind.DOWNGRADE,
        CommandKind.LEASE_TERMS,
    }
)
"""Kinds that get an entry of their own, so that apply can act before or after exactly them."""

JUDGED_BY_NAME = frozenset({CommandKind.LEASE_REVOKE})
"""Kinds whose caller's permission is looked at when they are applied, see `auth_stamp`."""


@dataclass(frozen=True, slots=True)
class ProposalLimits:
    """Bounds on what waits for consensus; beyond them clients hear `too many requests`."""

    commands_max: int = 65536
    bytes_max: int = 256 << 20
    batch_bytes_max: int = 1 << 20
    """A batch is closed once it has this size; one command may exceed it."""


class Fate(Enum):
    """What became of an attempt to propose a batch."""

    PROPOSED = 1
    """It is in a leader's log, or on its way there."""
    POSTPONED = 2
    """Certainly not proposed; try again when something changed."""
    REFUSED = 3
    """Certainly not proposed, and the leader is overloaded."""


PROPOSED = Fate.PROPOSED
POSTPONED = Fate.POSTPONED


@dataclass(slots=True)
class Batch:
    """One entry to be, and who waits for it."""

    id: int
    data: bytes
    waiters: list[Waiter]
    deadline: float
    term: int = 0
    """The term that it was proposed in; 0 while it was not."""


class Proposals:
    """All batches of this member, from gathering to the answer. Used from the loop only."""

    def __init__(
        self,
        member_id: int,
        first_batch_id: int,
        timeout_s: float,
        limits: ProposalLimits | None = None,
    ) -> None:
        """`first_batch_id` must be above every id of this member's earlier lives."""
        self.member_id = member_id
        self.timeout_s = timeout_s
        self.limits = limits or ProposalLimits()
        self.failed_count = 0
        self._next_id = first_batch_id
        self._stamp: bytes | None = None
        self.gathering = CommandBatch()
        """Takes commands; while there is no stamp, plain ones may be added to it from elsewhere,
        where `has_room`. Who makes it larger than `batch_bytes_max` calls `close_batch`."""
        self._sealed: deque[Batch] = deque()
        self._in_flight: dict[int, Batch] = {}
        """By id, hence in the order of proposing and of deadlines."""
        self._pending_commands = 0
        """Commands in sealed batches and in flight."""
        self._pending_bytes = 0

    @property
    def pending_count(self) -> int:
        """Commands without an answer."""
        return self._pending_commands + len(self.gathering)

    @property
    def has_postponed(self) -> bool:
        """Whether there are batches that nobody could propose yet."""
        return bool(self._sealed)

    def set_stamp(self, stamp: bytes | None) -> None:
        """Begin every later batch with this stamp (None: with none); see `auth_stamp`."""
        self._seal(self.gathering)
        self.gathering = CommandBatch()
        self._stamp = stamp

    @property
    def is_stamped(self) -> bool:
        """Whether batches must begin with a stamp now."""
        return self._stamp is not None

    def take_id(self) -> int:
        """Return an id for a batch that nobody waits for, unlike those of all other batches."""
        self._next_id += 1
        return self._next_id - 1

    def add(self, kind: int, payload: bytes, waiter: Waiter) -> bool:
        """Take a command in, or fail its waiter when too many wait; returns whether it was taken.

        The caller sees to it that `flush` runs at the end of the turn.
        """
        gathering = self.gathering
        if self._stamp is not None and not self._is_allowed(waiter):
            fail_with(waiter, ErrorCode.AUTH_OLD_REVISION)
            return False
        if not self.has_room:
            fail_with(waiter, ErrorCode.REQUEST_TOO_MANY_REQUESTS)
            return False
        if kind in ALONE or (kind in JUDGED_BY_NAME and self._stamp is not None):
            self._seal(self.gathering)
            alone = CommandBatch()
            self._put_stamp(alone, CHECKED.get() if kind in JUDGED_BY_NAME else None)
            alone.add(kind, payload, waiter)
            self.gathering = CommandBatch()
            self._seal(alone)
            return True
        self._put_stamp(gathering)
        gathering.add(kind, payload, waiter)
        if gathering.size_bytes >= self.limits.batch_bytes_max:
            self.close_batch()
        return True

    @property
    def has_room(self) -> bool:
        """Whether one more command may wait."""
        return (
            self.pending_count < self.limits.commands_max
            and self._pending_bytes + self.gathering.size_bytes < self.limits.bytes_max
        )

    def close_batch(self) -> None:
        """Let what was gathered be a batch; the next command begins another."""
        self._seal(self.gathering)
        self.gathering = CommandBatch()

    def _is_allowed(self, waiter: Waiter) -> bool:
        """Tell whether a command was checked under the present stamp, or is the member's own."""
        checked = CHECKED.get()
        if checked is not None and bare(checked) == self._stamp:
            return True
        return isinstance(waiter, NobodyWaits)

    def _put_stamp(self, batch: CommandBatch, named: bytes | None = None) -> None:
        if self._stamp is not None and not len(batch):
            batch.add(CommandKind.AUTH_STAMP, named or self._stamp, NobodyWaits())

    def _seal(self, gathered: CommandBatch) -> None:
        if not len(gathered):
            return
        batch = Batch(
            self._next_id,
            gathered.seal(self.member_id, self._next_id),
            gathered.waiters,
            deadline=0.0,
        )
        self._next_id += 1
        self._pending_commands += len(batch.waiters)
        self._pending_bytes += len(batch.data)
        self._sealed.append(batch)

    def flush(self, term: int, now: float, propose: Callable[[Batch], Fate]) -> None:
        """Propose everything gathered, in order, for the leader of `term`."""
        if len(self.gathering):
            self._seal(self.gathering)
            self.gathering = CommandBatch()
        while self._sealed:
            batch = self._sealed[0]
            if not batch.deadline:
                batch.deadline = now + self.timeout_s
            batch.term = term
            fate = propose(batch)
            if fate is POSTPONED:
                batch.term = 0
                return self._date(now)
            self._sealed.popleft()
            if fate is PROPOSED:
                self._in_flight[batch.id] = batch
            else:
                self._fail(batch, ErrorCode.REQUEST_TOO_MANY_REQUESTS)
        return None

    def _date(self, now: float) -> None:
        """Start the clock of every batch that has to wait."""
        for batch in self._sealed:
            batch.deadline = batch.deadline or now + self.timeout_s

    def take(self, batch_id: int) -> Batch | None:
        """Return a batch whose entry is being applied; None if nobody waits for it any more."""
        batch = self._in_flight.pop(batch_id, None)
        if batch is not None:
            self._forget(batch)
        return batch

    def refuse(self, batch_id: int, code: ErrorCode) -> None:
        """Fail a batch that its leader refused: it is certainly not in the log."""
        batch = self.take(batch_id)
        if batch is not None:
            self._answer(batch, code)

    def settle(self, term: int) -> None:
        """Fail every batch of terms before `term`, of which an entry is about to be applied."""
        lost = [batch for batch in self._in_flight.values() if batch.term < term]
        for batch in lost:
            del self._in_flight[batch.id]
            self._fail(batch, ErrorCode.LEADER_CHANGED)

    def abandon(self, code: ErrorCode) -> None:
        """Fail every batch in flight with an error that leaves its outcome open.

        A snapshot was installed: it may hold them, and nobody will say so.
        """
        lost = list(self._in_flight.values())
        self._in_flight.clear()
        for batch in lost:
            self._fail(batch, code)

    def expire(self, now: float, code: ErrorCode) -> None:
        """Fail batches past their deadline: with `code` if proposed, else with `no leader`."""
        for batch in list(self._overdue(now)):
            del self._in_flight[batch.id]
            self._fail(batch, code)
        while self._sealed and 0 < self._sealed[0].deadline <= now:
            self._fail(self._sealed.popleft(), ErrorCode.NO_LEADER)

    def _overdue(self, now: float) -> Iterator[Batch]:
        for batch in self._in_flight.values():
            if batch.deadline > now:
                return
            yield batch

    def close(self) -> None:
        """Fail everything: the member stops."""
        self._seal(self.gathering)
        self.gathering = CommandBatch()
        for batch in (*self._in_flight.values(), *self._sealed):
            self._fail(batch, ErrorCode.STOPPED)
        self._in_flight.clear()
        self._sealed.clear()

    def _fail(self, batch: Batch, code: ErrorCode) -> None:
        self._forget(batch)
        self._answer(batch, code)

    def _answer(self, batch: Batch, code: ErrorCode) -> None:
        self.failed_count += len(batch.waiters)
        for waiter in batch.waiters:
            fail_with(waiter, code)

    def _forget(self, batch: Batch) -> None:
        self._pending_commands -= len(batch.waiters)
        self._pending_bytes -= len(batch.data)


def timeout_code(leader_id: int, *, is_heard: bool) -> ErrorCode:
    """What to tell clients whose batch was proposed and not heard of again."""
    if leader_id == 0:
        return ErrorCode.TIMEOUT_DUE_TO_LEADER_FAIL
    return ErrorCode.TIMEOUT if is_heard else ErrorCode.TIMEOUT_DUE_TO_CONNECTION_LOST
