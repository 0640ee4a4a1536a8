"""Make a failing plan smaller: fewer faults, changes and requests, failing in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from raftkv.testing.history import Violation
from raftkv.testing.safety import SafetyViolation
from raftkv.testing.sim.plan import Plan
from raftkv.testing.sim.trace import Trace
from raftkv.testing.sim.world import run

__all__ = ["shrink"]

_T = TypeVar("_T")

RUNS_MAX = 120
"""How often a plan is tried; what is left then is the answer."""


def shrink(plan: Plan, error: Exception) -> tuple[Plan, Trace]:
    """Return a plan with a part of all that was in it, which fails alike, and its trace."""
    return _Shrinker(plan, error).run()


class _Shrinker:
    def __init__(self, plan: Plan, error: Exception) -> None:
        self._plan = plan
        self._kind = _kind(error)
        self._runs = 0
        self._trace = Trace()

    def run(self) -> tuple[Plan, Trace]:
        if not self._fails(self._plan):
            return self._plan, self._trace
        for field in ("faults", "changes", "requests", "faults"):
            items: tuple[object, ...] = getattr(self._plan, field)
            self._reduce(items, partial(self._with, field))
        return self._plan, self._trace

    def _with(self, field: str, kept: tuple[object, ...]) -> Plan:
        changed: dict[str, Any] = {field: kept}
        return replace(self._plan, **changed)

    def _reduce(self, items: tuple[_T, ...], plan_with: Callable[[tuple[_T, ...]], Plan]) -> None:
        """Leave out ever smaller runs of items, as long as the plan goes on failing."""
        size = max(1, len(items) // 2)
        while items:
            position = 0
            while position < len(items) and self._runs < RUNS_MAX:
                fewer = items[:position] + items[position + size :]
                if self._fails(plan_with(fewer)):
                    items = fewer
                else:
                    position += size
            if size == 1 or self._runs >= RUNS_MAX:
                return
            size //= 2

    def _fails(self, plan: Plan) -> bool:
        self._runs += 1
        trace = Trace()
        try:
            run(plan, trace)
        except Exception as error:
            if _kind(error) == self._kind:
                self._plan, self._trace = plan, trace
                return True
        return False


def _kind(error: Exception) -> str:
    if isinstance(error, SafetyViolation):
        return error.name
    return error.promise if isinstance(error, Violation) else type(error).__name__
