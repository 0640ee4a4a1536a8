"""Is there an order of these calls, agreeing with real time, in which each answer is right?

The search of Wing and Gong (1993) with Lowe's memory of what was tried ("Testing for
linearizability", 2017): walk along calls and returns by time; take a call if the model can answer
it as it was answered; at a return whose call is not taken, take back the last one. A configuration
(which calls are taken, in which state that left the model) is never entered twice.

Calls of unknown outcome may be taken anywhere after they were made, or never. A model may be
split into parts whose histories do not touch (`partition`), because a history is linearizable if
those of all its objects are; that, and not cleverness in the search, makes histories of many keys
feasible. In the worst case the search is exponential in the calls that overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Generic, Protocol, TypeVar

__all__ = ["Call", "Model", "SearchTooLong", "Verdict", "check", "check_parts"]

STEPS_MAX = 20_000_000
"""Calls that a search tries before it gives up: about a minute."""

Input = TypeVar("Input")
Output = TypeVar("Output")
State = TypeVar("State", bound=Hashable)
InputOf = TypeVar("InputOf", contravariant=True)
OutputOf = TypeVar("OutputOf", contravariant=True)


class Model(Protocol[State, InputOf, OutputOf]):
    """A sequential object."""

    def initial(self) -> State:
        """Return the state before the first call."""

    def step(self, state: State, request: InputOf, answer: OutputOf | None) -> Sequence[State]:
        """Return the states in which `request` may leave it if it was answered by `answer`.

        None of them: the answer is wrong here. `answer` is None where it is unknown.
        """


@dataclass(frozen=True, slots=True)
class Call(Generic[Input, Output]):
    """One call; `returned` is infinite and `answer` None where the outcome is unknown."""

    request: Input
    called: float
    returned: float = inf
    answer: Output | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search found."""

    linearizable: bool
    order: tuple[int, ...]
    """Positions of calls: a valid order, or the longest that was found."""
    steps: int
    """Calls tried."""


class SearchTooLong(Exception):
    """The search was given up after its limit of steps: neither verdict."""


def check_parts(
    model: Model[State, Input, Output],
    calls: Iterable[Call[Input, Output]],
    partition: Callable[[Input], Hashable],
    steps_max: int = STEPS_MAX,
) -> dict[Hashable, Verdict]:
    """Check each object's calls by themselves; returns object -> verdict."""
    parts: dict[Hashable, list[Call[Input, Output]]] = {}
    for call in calls:
        parts.setdefault(partition(call.request), []).append(call)
    return {part: check(model, mine, steps_max) for part, mine in parts.items()}


def check(
    model: Model[State, Input, Output],
    calls: Sequence[Call[Input, Output]],
    steps_max: int = STEPS_MAX,
) -> Verdict:
    """Search an order of `calls`. Equal times count as overlapping. Raises SearchTooLong."""
    return _Search(model, calls).run(steps_max)


class _Search(Generic[State, Input, Output]):
    """Moments are a list linked through `_next` and `_previous`.

    With n calls, moment i < n is the call of i, n + i its return, 2n the head and 2n + 1 the end.
    """

    def __init__(
        self, model: Model[State, Input, Output], calls: Sequence[Call[Input, Output]]
    ) -> None:
        self._model = model
        self._calls = calls
        self._count = count = len(calls)
        moments = [(call.called, 0, at) for at, call in enumerate(calls)]
        moments += [
            (call.returned, 1, count + at) for at, call in enumerate(calls) if call.returned < inf
        ]
        moments.sort()
        self._remaining = len(moments) - count
        """Answered calls that are not taken."""
        chain = [2 * count, *(at for _, _, at in moments), 2 * count + 1]
        self._next = [0] * (2 * count + 2)
        self._previous = [0] * (2 * count + 2)
        for one, other in pairwise(chain):
            self._next[one], self._previous[other] = other, one
        self._state = model.initial()
        self._taken = 0
        """Calls taken, as a set of bits."""
        self._tried = {(0, self._state)}
        self._stack: list[tuple[int, State, Sequence[State]]] = []
        """Calls taken, with the state before each and other states that it might have left."""
        self._steps = 0

    def run(self, steps_max: int) -> Verdict:
        """Search. Raises SearchTooLong."""
        head = 2 * self._count
        longest: tuple[int, ...] = ()
        at = self._next[head]
        while self._remaining:
            if at < self._count:
                choices = self._choices(at)
                if self._steps > steps_max:
                    raise SearchTooLong(f"{self._count} calls, {steps_max} steps")
            else:
                if len(self._stack) > len(longest):
                    longest = tuple(one for one, _, _ in self._stack)
                if not self._stack:
                    return Verdict(False, longest, self._steps)
                at, choices = self._take_back()
            if choices:
                self._take(at, choices)
                at = self._next[head]
            else:
                at = self._next[at]
        return Verdict(True, tuple(one for one, _, _ in self._stack), self._steps)

    def _choices(self, at: int) -> Sequence[State]:
        """Return the states, none of them tried, that taking a call now may leave."""
        self._steps += 1
        call, taken, tried = self._calls[at], self._taken | 1 << at, self._tried
        states = self._model.step(self._state, call.request, call.answer)
        if call.returned == inf:  # without an effect it might as well not have happened
            states = [state for state in states if state != self._state]
        return [state for state in states if (taken, state) not in tried]

    def _take(self, at: int, choices: Sequence[State]) -> None:
        self._stack.append((at, self._state, choices[1:]))
        self._state = choices[0]
        self._taken |= 1 << at
        self._tried.add((self._taken, self._state))
        self._unlink(at)
        if self._calls[at].returned < inf:
            self._unlink(self._count + at)
            self._remaining -= 1

    def _take_back(self) -> tuple[int, Sequence[State]]:
        """Undo the last `_take`; returns its call and the states that it may leave instead."""
        at, self._state, others = self._stack.pop()
        if self._calls[at].returned < inf:
            self._relink(self._count + at)
            self._remaining += 1
        self._relink(at)
        choices = [state for state in others if (self._taken, state) not in self._tried]
        self._taken ^= 1 << at
        return at, choices

    def _unlink(self, at: int) -> None:
        before, after = self._previous[at], self._next[at]
        self._next[before], self._previous[after] = after, before

    def _relink(self, at: int) -> None:
        self._next[self._previous[at]] = at
        self._previous[self._next[at]] = at
