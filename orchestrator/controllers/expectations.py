"""What a controller did and its cache has not shown yet.

Between a create and its arrival through the watch, the cache shows too few children; planning on it
would create them twice. A controller plans for a key only when `satisfied` says so.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from orchestrator.client.object_key import ObjectKey

EXPIRY: Final = timedelta(minutes=5)
"""An event that has not come by now never will; planning on the cache is then the safer guess."""


@dataclass(slots=True)
class _Pending:
    creations: int
    deletions: set[str] = field(default_factory=set)
    since: datetime | None = None


class Expectations:
    """Creations counted and deletions by uid, per owner."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._pending: dict[ObjectKey, _Pending] = {}

    def satisfied(self, owner: ObjectKey) -> bool:
        """Say whether the cache shows everything that was done for the owner."""
        pending = self._pending.get(owner)
        if pending is None or (pending.creations <= 0 and not pending.deletions):
            return True
        return pending.since is not None and self._clock() - pending.since > EXPIRY

    def expect_creations(self, owner: ObjectKey, count: int) -> None:
        """Expect `count` adds. Call BEFORE creating: the event may overtake the answer."""
        pending = self._entry(owner)
        pending.creations = max(pending.creations, 0) + count

    def expect_deletions(self, owner: ObjectKey, uids: Iterable[str]) -> None:
        """Expect these children to go. Call BEFORE deleting."""
        self._entry(owner).deletions.update(uids)

    def creation_observed(self, owner: ObjectKey, count: int = 1) -> None:
        """An add came, or a create failed."""
        pending = self._pending.get(owner)
        if pending is not None:
            pending.creations -= count

    def deletion_observed(self, owner: ObjectKey, uid: str) -> None:
        """The child is gone or terminating, or its delete failed."""
        pending = self._pending.get(owner)
        if pending is not None:
            pending.deletions.discard(uid)

    def forget(self, owner: ObjectKey) -> None:
        """Drop what is expected for an owner that is gone."""
        self._pending.pop(owner, None)

    def _entry(self, owner: ObjectKey) -> _Pending:
        """A new set of expectations takes the place of one that was satisfied or has expired."""
        pending = self._pending.get(owner)
        if pending is None or self.satisfied(owner):
            pending = self._pending[owner] = _Pending(0, since=self._clock())
        return pending
