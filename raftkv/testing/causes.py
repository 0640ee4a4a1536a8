"""Which request of unknown outcome made which revision: each at most one.

Deletes may be alike, and one may do what another does by chance. So a choice is not final: where a
later revision has no other cause left, earlier ones are given others (augmenting paths in the
bipartite graph of requests and revisions), and a history is refused only if no choice explains it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

from raftkv.testing.history import Operation

__all__ = ["Causes"]


class Causes:
    """Requests without an answer, and the revisions that need one of them."""

    def __init__(self) -> None:
        self._requests: dict[int, Operation] = {}
        """Those that may be chosen, by a number."""
        self._order: list[tuple[float, int]] = []
        """(when called, number) of the same."""
        self._count = 0
        self._candidates: dict[int, list[int]] = {}
        """By revision: numbers of all requests that could have made it."""
        self._cause: dict[int, int] = {}
        self._effect: dict[int, int] = {}
        """Which request is chosen for a revision, and the reverse."""

    def __len__(self) -> int:
        return len(self.unused())

    def add(self, operation: Operation) -> None:
        """Take in a request that may yet have an effect, or none."""
        self._count += 1
        self._requests[self._count] = operation
        insort(self._order, (operation.called, self._count))

    def unused(self) -> list[Operation]:
        """Return the requests that explain nothing so far, by the time of their call."""
        return [self._requests[one] for _, one in self._order if one not in self._effect]

    def explain(self, revision: int, called_max: float, makes: Callable[[Operation], bool]) -> bool:
        """Find a cause for a revision that was called at `called_max` at the latest.

        `makes` tells whether a request would have made just this revision; asked once for each
        request. Returns False, and changes nothing, where none is left.
        """
        candidates: list[int] = []
        for called, number in self._order:
            if called > called_max:
                break
            if makes(self._requests[number]):
                candidates.append(number)
        self._candidates[revision] = candidates
        if not self._choose(revision):
            del self._candidates[revision]
            return False
        if len(candidates) == 1:  # never to be chosen again
            request = self._requests.pop(candidates[0])
            self._order.remove((request.called, candidates[0]))
        return True

    def _choose(self, revision: int) -> bool:
        """Give a revision a cause, and others another one for it where that is needed."""
        wanted_by: dict[int, int] = {}
        waiting = [revision]
        for at in waiting:
            for number in self._candidates[at]:
                if number in wanted_by:
                    continue
                wanted_by[number] = at
                if number not in self._effect:
                    self._hand_on(number, wanted_by)
                    return True
                waiting.append(self._effect[number])
        return False

    def _hand_on(self, free: int, wanted_by: dict[int, int]) -> None:
        """Give a free request to who wants it, what that one had to who wants that, and so on."""
        number: int | None = free
        while number is not None:
            revision = wanted_by[number]
            before = self._cause.get(revision)
            self._cause[revision], self._effect[number] = number, revision
            number = before
