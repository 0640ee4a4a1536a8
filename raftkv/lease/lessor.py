"""Decide when leases expire.

Which leases exist, with which TTL and keys, is replicated state and belongs to the store. When they
expire is for the leader to say, by its own monotonic clock. So that a lease keeps the time it has
left when another member leads, everybody knows the deadlines of those leases that are *settled*:

- A lease is settled when it is granted: every member counts its TTL from applying the grant.
- To renew a settled lease, the leader first has it unsettled through the log. From then on renewals
  cost nothing but asking a quorum who leads; a successor would give the lease its full TTL.
- A lease that was not renewed for half its TTL is settled again, through the log, with the time
  it has left. Clients that keep leases alive renew sooner, so theirs stay unsettled.
- The time that settled leases have left is written down now and then, for restarts.

A member that hears of this late has later deadlines than the leader, never earlier ones. A new
leader lets each lease live an election timeout more, since clients could not reach anyone.

Expiries wait in a heap. A renewal only moves the deadline in the table; the heap's entry is found
stale when it surfaces, and is pushed again with the later deadline. So a renewal is O(1).
"""

import heapq
from collections.abc import Collection, Iterable

__all__ = [
    "RENEWED",
    "RETRY_S",
    "REVOKES_PER_ROUND_MAX",
    "TERMS_PER_ROUND_MAX",
    "TTL_MAX_S",
    "Lessor",
]

REVOKES_PER_ROUND_MAX = 500
"""How many expired leases one round may revoke: a pile-up must not fill the log."""

TERMS_PER_ROUND_MAX = 1000
"""How many leases one round may settle."""

RETRY_S = 3.0
"""When a revocation that was proposed and not applied is proposed again."""

STALE_ENTRIES_MAX = 1024
"""Entries of revoked leases that the heap may hold beyond its live ones before it is rebuilt."""

TTL_MAX_S = 9_000_000_000
"""The longest TTL that etcd grants, in seconds."""

NOTE_INTERVAL_S = 60.0
"""At the least between two times that the rest of a settled lease is written down."""

RENEWED = -1.0
"""In the place of the seconds left: the lease is unsettled and may be renewed at any time."""


class Lessor:
    """The table of leases and their deadlines: of all while primary, else of the settled ones.

    Times are seconds on one monotonic clock of the caller's. Not thread-safe.
    """

    def __init__(self, ttl_min_s: int) -> None:
        self.ttl_min_s = ttl_min_s
        self._ttl_s: dict[int, int] = {}
        self._deadline: dict[int, float] = {}
        self._settled: set[int] = set()
        """As of what is applied; each has a deadline."""
        self._renewable: set[int] = set()
        """Known to be unsettled, by all who applied as much. What is in neither set was taken over
        from the disk: some member may hold it to a deadline, and this one does not know it."""
        self._settling: set[int] = set()
        """Empty unless primary; leases whose settling is proposed and not applied."""
        self._expiries = _Queue()
        self._settlings = _Queue()
        """When to look whether a lease is to be settled, or its rest written down."""
        self._primary = False

    def __len__(self) -> int:
        return len(self._ttl_s)

    def __contains__(self, lease_id: int) -> bool:
        return lease_id in self._ttl_s

    @property
    def is_primary(self) -> bool:
        """Whether this member times leases: it is the leader."""
        return self._primary

    def is_settled(self, lease_id: int) -> bool:
        """Whether other members may hold this lease to a deadline, so that it cannot be renewed."""
        return lease_id not in self._renewable or lease_id in self._settling

    def resolve_ttl(self, ttl_s: int) -> int:
        """Return the TTL that a grant of `ttl_s` is to get: no less than the minimum."""
        return max(ttl_s, self.ttl_min_s)

    # --- what is applied -------------------------------------------------------------------------

    def granted(self, lease_id: int, ttl_s: int, now: float) -> None:
        """Take note of a lease that was granted: settled. Granting a known one replaces its TTL."""
        self._ttl_s[lease_id] = ttl_s
        self._settle(lease_id, now + ttl_s)
        if self._primary:
            self._time(lease_id, now)

    def restored(self, lease_id: int, ttl_s: int, left_s: float, now: float) -> None:
        """Take over a lease from the disk, with the seconds it had left, or `RENEWED`.

        The latter may as well be one that was just granted. Not while primary.
        """
        self._ttl_s[lease_id] = ttl_s
        if left_s != RENEWED:
            self._settle(lease_id, now + left_s)

    def revoked(self, lease_id: int) -> None:
        """Forget a lease. Unknown ones are ignored."""
        self._ttl_s.pop(lease_id, None)
        self._deadline.pop(lease_id, None)
        self._settled.discard(lease_id)
        self._renewable.discard(lease_id)
        self._settling.discard(lease_id)
        self._expiries.remove(lease_id)
        self._settlings.remove(lease_id)

    def settled(self, lease_id: int, left_s: float, now: float) -> bool:
        """Take note of how much time a lease has left, or that it is `RENEWED`.

        Returns whether the lease is known. A primary keeps its own deadline.
        """
        if lease_id not in self._ttl_s:
            return False
        self._settling.discard(lease_id)
        if left_s != RENEWED:
            deadline = self._deadline[lease_id] if self._primary else now + left_s
            self._settle(lease_id, deadline)
            return True
        self._settled.discard(lease_id)
        self._renewable.add(lease_id)
        if self._primary:
            self._settlings.put(lease_id, now + self._ttl_s[lease_id] / 2)
        else:
            self._deadline.pop(lease_id, None)
        return True

    def clear(self) -> None:
        """Forget everything: the state is replaced. Not while primary."""
        self._ttl_s.clear()
        self._deadline.clear()
        self._settled.clear()
        self._renewable.clear()

    def _settle(self, lease_id: int, deadline: float) -> None:
        self._settled.add(lease_id)
        self._renewable.discard(lease_id)
        self._deadline[lease_id] = deadline

    # --- leading ---------------------------------------------------------------------------------

    def promote(self, now: float, extension_s: float) -> None:
        """Become primary: settled leases have the time left that they had, others their full TTL.

        All live `extension_s` longer. O(n).
        """
        self._primary = True
        for lease_id, ttl_s in self._ttl_s.items():
            deadline = self._deadline.get(lease_id, now + ttl_s)
            self._deadline[lease_id] = max(deadline, now) + extension_s
            self._time(lease_id, now)

    def demote(self) -> None:
        """Stop timing leases."""
        self._primary = False
        self._settling.clear()
        self._deadline = {one: self._deadline[one] for one in self._settled}
        self._expiries.clear()
        self._settlings.clear()

    def _time(self, lease_id: int, now: float) -> None:
        """Queue a lease of a primary for whatever it is to be looked at next."""
        self._expiries.put(lease_id, self._deadline[lease_id])
        self._settlings.put(lease_id, self._next_look(lease_id, now))

    def _next_look(self, lease_id: int, now: float) -> float:
        ttl_s = self._ttl_s[lease_id]
        if lease_id in self._settled:
            return now + max(NOTE_INTERVAL_S, ttl_s / 10)
        return self._deadline[lease_id] - ttl_s / 2

    def renew(self, lease_id: int, now: float) -> int:
        """Start a lease's TTL again and return it; 0 for an unknown or already expired lease.

        Only a primary may renew, and only what is not settled.
        """
        assert self._primary, "only the leader's lessor renews"
        if not self.is_alive(lease_id, now):
            return 0
        assert not self.is_settled(lease_id), "a settled lease may have ended elsewhere"
        ttl_s = self._ttl_s[lease_id]
        self._deadline[lease_id] = now + ttl_s
        return ttl_s

    def is_alive(self, lease_id: int, now: float) -> bool:
        """Whether a lease is known and its time is not up, by what this member knows."""
        deadline = self._deadline.get(lease_id)
        return deadline is not None and deadline > now

    def remaining_s(self, lease_id: int, now: float) -> int:
        """Return the whole seconds a lease has left (0 at its end), or -1 where it is unknown."""
        deadline = self._deadline.get(lease_id)
        if deadline is None:
            return -1
        return max(0, int(deadline - now))

    def granted_ttl_s(self, lease_id: int) -> int:
        """Return the TTL that the lease was granted, or 0 where it is unknown."""
        return self._ttl_s.get(lease_id, 0)

    def by_expiry(self) -> Iterable[int]:
        """Return all lease ids, the soonest to expire first where that is known."""
        return sorted(self._ttl_s, key=lambda lease_id: self._deadline.get(lease_id, 0.0))

    def take_expired(self, now: float, count_max: int = REVOKES_PER_ROUND_MAX) -> list[int]:
        """Return up to `count_max` leases whose time is up, the most overdue first.

        Each is to be revoked through the log; it is handed out again `RETRY_S` later unless
        `revoked` was called meanwhile.
        """
        expired: list[int] = []
        while len(expired) < count_max:
            lease_id = self._expiries.take(now)
            if lease_id is None:
                break
            deadline = self._deadline[lease_id]
            if deadline > now:
                self._expiries.put(lease_id, deadline)
            else:
                expired.append(lease_id)
                self._expiries.put(lease_id, now + RETRY_S)
        return expired

    def take_unsettled(
        self,
        now: float,
        unsettling: Collection[int] = (),
        count_max: int = TERMS_PER_ROUND_MAX,
    ) -> list[tuple[int, float]]:
        """Return up to `count_max` leases to settle, each with the seconds it has left.

        They cannot be renewed until `settled` is called for them, or `give_up`. None of those that
        are `unsettling`, for which `RENEWED` is on its way through the log: they may be renewed as
        soon as that is applied, and what they have left now, if it came behind, would take the
        renewal back at everybody else's.
        """
        terms: list[tuple[int, float]] = []
        while len(terms) < count_max:
            lease_id = self._settlings.take(now)
            if lease_id is None:
                break
            if lease_id in unsettling:
                self._settlings.put(lease_id, now + RETRY_S)
                continue
            if lease_id not in self._settled and now < self._next_look(lease_id, now):
                self._settlings.put(lease_id, self._next_look(lease_id, now))
                continue
            if lease_id not in self._settled:
                self._settling.add(lease_id)
            terms.append((lease_id, max(0.0, self._deadline[lease_id] - now)))
            self._settlings.put(lease_id, now + max(NOTE_INTERVAL_S, self._ttl_s[lease_id] / 10))
        return terms

    def give_up(self, terms: Iterable[tuple[int, float]], now: float) -> None:
        """Take note that what `take_unsettled` returned was certainly not proposed."""
        for lease_id, _ in terms:
            self._settling.discard(lease_id)
            self._settlings.put(lease_id, now + RETRY_S)


class _Queue:
    """Leases in the order of times; each at most once, the others of the heap are stale."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._time: dict[int, float] = {}

    def put(self, lease_id: int, time: float) -> None:
        """Queue a lease, in the place of where it was."""
        self._time[lease_id] = time
        heapq.heappush(self._heap, (time, lease_id))
        if len(self._heap) > 2 * len(self._time) + STALE_ENTRIES_MAX:
            self._rebuild()

    def take(self, now: float) -> int | None:
        """Remove and return the first lease whose time is not after `now`, if there is one."""
        while self._heap and self._heap[0][0] <= now:
            time, lease_id = heapq.heappop(self._heap)
            if self._time.get(lease_id) == time:
                del self._time[lease_id]
                return lease_id
        return None

    def remove(self, lease_id: int) -> None:
        """Forget a lease; unknown ones are ignored."""
        self._time.pop(lease_id, None)
        if len(self._heap) > 2 * len(self._time) + STALE_ENTRIES_MAX:
            self._rebuild()

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()
        self._time.clear()

    def _rebuild(self) -> None:
        self._heap = [(time, lease_id) for lease_id, time in self._time.items()]
        heapq.heapify(self._heap)
