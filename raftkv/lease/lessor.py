"""Decide when leases expire.

Which leases exist, with which TTL and keys, is replicated state and belongs to the store. When they
expire is the leader's business alone, by its own monotonic clock: nobody else keeps deadlines. A
new leader does not know how much time was left, so each lease gets its full TTL again, and an
election timeout more, since clients could not reach anyone during the election.

Expiries wait in a heap. A renewal only moves the deadline in the table; the heap's entry is found
stale when it surfaces, and is pushed again with the later deadline. So a renewal is O(1).
"""

import heapq
from collections.abc import Iterable

__all__ = ["RETRY_S", "REVOKES_PER_ROUND_MAX", "TTL_MAX_S", "Lessor"]

REVOKES_PER_ROUND_MAX = 500
"""How many expired leases one round may revoke: a pile-up must not fill the log."""

RETRY_S = 3.0
"""When a revocation that was proposed and not applied is proposed again."""

STALE_ENTRIES_MAX = 1024
"""Entries of revoked leases that the heap may hold beyond its live ones before it is rebuilt."""

TTL_MAX_S = 9_000_000_000
"""The longest TTL that etcd grants, in seconds."""


class Lessor:
    """The table of leases and, while primary, their deadlines.

    Times are seconds on one monotonic clock of the caller's. Not thread-safe.
    """

    def __init__(self, ttl_min_s: int) -> None:
        self.ttl_min_s = ttl_min_s
        self._ttl_s: dict[int, int] = {}
        self._deadline: dict[int, float] = {}
        """Empty unless primary; then exactly the keys of `_ttl_s`."""
        self._heap: list[tuple[float, int]] = []
        self._queued: dict[int, float] = {}
        """The time of each lease's one live entry in the heap; other entries are stale.

        Invariant while primary: no later than the lease's deadline, or a retry."""
        self._primary = False

    def __len__(self) -> int:
        return len(self._ttl_s)

    def __contains__(self, lease_id: int) -> bool:
        return lease_id in self._ttl_s

    @property
    def is_primary(self) -> bool:
        """Whether this member times leases: it is the leader."""
        return self._primary

    def resolve_ttl(self, ttl_s: int) -> int:
        """Return the TTL that a grant of `ttl_s` is to get: no less than the minimum."""
        return max(ttl_s, self.ttl_min_s)

    def granted(self, lease_id: int, ttl_s: int, now: float) -> None:
        """Take note of a lease that was granted. Granting a known one replaces its TTL."""
        self._ttl_s[lease_id] = ttl_s
        if self._primary:
            self._deadline[lease_id] = now + ttl_s
            self._queue(lease_id, now + ttl_s)

    def revoked(self, lease_id: int) -> None:
        """Forget a lease. Unknown ones are ignored."""
        self._ttl_s.pop(lease_id, None)
        self._deadline.pop(lease_id, None)
        self._queued.pop(lease_id, None)
        if len(self._heap) > 2 * len(self._queued) + STALE_ENTRIES_MAX:
            self._rebuild_heap()

    def promote(self, now: float, extension_s: float) -> None:
        """Become primary: every lease lives its full TTL and `extension_s` from now. O(n)."""
        self._primary = True
        self._deadline = {
            lease_id: now + ttl_s + extension_s for lease_id, ttl_s in self._ttl_s.items()
        }
        self._queued = dict(self._deadline)
        self._rebuild_heap()

    def demote(self) -> None:
        """Stop timing leases."""
        self._primary = False
        self._deadline.clear()
        self._queued.clear()
        self._heap.clear()

    def renew(self, lease_id: int, now: float) -> int:
        """Start a lease's TTL again and return it; 0 for an unknown or already expired lease.

        Only a primary may renew: callers forward to the leader otherwise.
        """
        assert self._primary, "only the leader's lessor renews"
        deadline = self._deadline.get(lease_id)
        if deadline is None or deadline <= now:
            return 0
        ttl_s = self._ttl_s[lease_id]
        self._deadline[lease_id] = now + ttl_s
        return ttl_s

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
        while self._heap and self._heap[0][0] <= now and len(expired) < count_max:
            queued, lease_id = heapq.heappop(self._heap)
            if self._queued.get(lease_id) != queued:
                continue
            deadline = self._deadline[lease_id]
            if deadline > now:
                self._queue(lease_id, deadline)
            else:
                expired.append(lease_id)
                self._queue(lease_id, now + RETRY_S)
        return expired

    def _queue(self, lease_id: int, time: float) -> None:
        self._queued[lease_id] = time
        heapq.heappush(self._heap, (time, lease_id))

    def _rebuild_heap(self) -> None:
        self._heap = [(time, lease_id) for lease_id, time in self._queued.items()]
        heapq.heapify(self._heap)
