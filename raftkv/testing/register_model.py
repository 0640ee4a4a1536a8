"""A register with compare-and-set, and Jepsen's log of one as calls.

A line of such a log is `INFO  jepsen.util - <process>\t:<event>\t:<function>\t<value>`, with the
events invoke, ok, fail (it did not happen) and info (nobody knows).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf

from raftkv.testing.linearizability import Call

__all__ = ["RegisterModel", "RegisterRequest", "Verb", "parse_jepsen_log"]

LINE = re.compile(r"INFO\s+jepsen\.util - (\d+)\s+:(\w+)\s+:(\w+)\s+(.*)")


class Verb(Enum):
    """What is asked of a register."""

    READ = "read"
    WRITE = "write"
    CAS = "cas"


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """One request. WRITE sets `new`; CAS sets it where the value is `old`."""

    verb: Verb
    new: int = 0
    old: int = 0


class RegisterModel:
    """States and a READ's answers: the value, or `NOTHING`. A CAS is answered 1 or 0."""

    NOTHING = -1

    def initial(self) -> int:
        """Nothing was written yet."""
        return self.NOTHING

    def step(self, state: int, request: RegisterRequest, answer: int | None) -> Sequence[int]:
        """See `Model.step`."""
        match request.verb:
            case Verb.READ:
                return (state,) if answer in (None, state) else ()
            case Verb.WRITE:
                return (request.new,)
            case Verb.CAS:
                done = state == request.old
                if answer is not None and answer != done:
                    return ()
                return (request.new,) if done else (state,)


def parse_jepsen_log(lines: Iterable[str]) -> list[Call[RegisterRequest, int]]:
    """Read a log; a line's number is its time. Raises ValueError on what is no such log.

    A CAS that failed is one that was answered 0; a read that failed says nothing.
    """
    calls: list[Call[RegisterRequest, int]] = []
    open_calls: dict[str, tuple[float, RegisterRequest]] = {}
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        match = LINE.match(line.strip())
        if match is None:
            raise ValueError(f"line {number + 1} is none of a Jepsen log: {line!r}")
        process, event, verb, value = match.groups()
        if event == "invoke":
            open_calls[process] = (number, _parse_request(verb, value))
            continue
        called, request = open_calls.pop(process)
        if event == "info":
            calls.append(Call(request, called))
        elif event == "ok":
            answer = _parse_value(value) if request.verb is Verb.READ else 1
            calls.append(Call(request, called, number, answer))
        elif request.verb is Verb.CAS:
            calls.append(Call(request, called, number, 0))
    calls += [Call(request, called, inf) for called, request in open_calls.values()]
    return calls


def _parse_request(verb: str, value: str) -> RegisterRequest:
    if verb == "cas":
        old, new = value.strip("[]").split()
        return RegisterRequest(Verb.CAS, new=int(new), old=int(old))
    if verb == "write":
        return RegisterRequest(Verb.WRITE, new=int(value))
    return RegisterRequest(Verb(verb))


def _parse_value(value: str) -> int:
    return RegisterModel.NOTHING if value == "nil" else int(value)
