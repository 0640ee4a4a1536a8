"""Linearizability of big histories, by the revisions in the answers.

Every change of the store has a revision of its own, and every answer carries the revision at which
it was true. So the order in which requests took effect need not be searched: it is written down.
What remains to be checked, in one pass over the revisions:

1. every revision's events are known (from watches over all keys) and follow from its state;
2. each answer is, byte for byte, what a plain model answers at that place of the order;
3. every revision was caused by exactly one request, a request of unknown outcome (each at most
   once), or the end of a lease; so requests that failed have no effect;
4. the order agrees with real time: nothing that returned before another was called comes after it.

A delete without an answer may do just what the end of a lease would, and other deletes would: what
caused such a revision is undecided (`causes`) until no other choice is left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypeAlias, cast

from raftkv.pb.etcd import kv_pb2, rpc_pb2
from raftkv.testing.causes import Causes
from raftkv.testing.history import Operation, Outcome, Violation, WatchStream, line
from raftkv.testing.kv_model import Request, Response, execute, mutates, without_headers

__all__ = ["LeaseEnd", "RevisionHistory", "check_operations", "collect_events"]

KV_KINDS = frozenset({"put", "range", "delete_range", "txn"})
SLICE_LENGTH = 12

Events: TypeAlias = dict[int, list[kv_pb2.Event]]


@dataclass(frozen=True, slots=True)
class LeaseEnd:
    """A revision that deleted the keys of a lease, as its expiry or revocation does."""

    revision: int
    lease: int
    keys: tuple[bytes, ...]


@dataclass(slots=True)
class RevisionHistory:
    """The state at one revision; `check_operations` moves it on to the end of what it checked."""

    revision: int = 1
    keys: dict[bytes, kv_pb2.KeyValue] = field(default_factory=dict)
    unknown: Causes = field(default_factory=Causes)
    """Requests that may still have an effect in later revisions."""


def collect_events(streams: Iterable[WatchStream]) -> Events:
    """Gather the events of each revision from watches that cover all keys.

    Raises Violation where two watches disagree.
    """
    found: Events = {}
    for stream in streams:
        whole = stream.request.key == b"\0" and stream.request.range_end == b"\0"
        if not whole or stream.request.filters:
            continue
        mine: Events = defaultdict(list)
        for _, response in stream.responses:
            for event in response.events:
                bare = kv_pb2.Event(type=event.type, kv=event.kv)
                mine[event.kv.mod_revision].append(bare)
        for revision, events in mine.items():
            if found.setdefault(revision, events) != events:
                raise Violation(
                    "watches agree",
                    f"revision {revision} differs between watches",
                    [found[revision], events],
                )
    return found


def check_operations(
    history: RevisionHistory,
    operations: Sequence[Operation],
    events: Events,
    end: int,
    may_end: Callable[[LeaseEnd], bool] = lambda _: True,
) -> list[LeaseEnd]:
    """Check all that happened from `history.revision` to revision `end`, and move `history` there.

    `operations` returned or were given up in that time; `events` are `collect_events`'. Returns the
    revisions that ended leases. `may_end` tells whether a lease may have ended there: where it may
    not, the revision is among those only if no request explains it. Raises Violation. Cost:
    revisions times keys.
    """
    return _Check(history, operations, events, end, may_end).run()


class _Check:
    def __init__(
        self,
        history: RevisionHistory,
        operations: Sequence[Operation],
        events: Events,
        end: int,
        may_end: Callable[[LeaseEnd], bool],
    ) -> None:
        self._history = history
        self._may_end = may_end
        self._events = events
        self._end = end
        self._ends: list[LeaseEnd] = []
        kv = [operation for operation in operations if operation.kind in KV_KINDS]
        for operation in kv:
            if operation.outcome is Outcome.UNKNOWN and _may_write(operation):
                history.unknown.add(operation)
        self._writes: dict[int, Operation] = {}
        self._reads: dict[int, list[Operation]] = defaultdict(list)
        self._answered: list[tuple[tuple[int, int, float], Operation]] = []
        for operation in kv:
            if operation.outcome is Outcome.OK:
                self._place(operation)
        self._answered.sort(key=lambda one: one[0])

    def run(self) -> list[LeaseEnd]:
        self._check_real_time()
        deadlines = self._deadlines()
        history = self._history
        while True:
            for read in self._reads.pop(history.revision, ()):
                self._check_answer(read, history.revision + 1)
            if history.revision == self._end:
                break
            revision = history.revision + 1
            events = self._events.get(revision)
            if events is None:
                raise Violation(
                    "no gap in revisions", f"no watch saw revision {revision}", self._near(revision)
                )
            self._explain(revision, events, deadlines)
            self._apply(revision, events)
        beyond = [*self._reads, *(one for one in self._writes if one > self._end)]
        if beyond:
            raise Violation(
                "answers lie in the history",
                f"answers at revisions {sorted(beyond)[:SLICE_LENGTH]} outside of it,"
                f" which ends at {self._end}",
                self._near(min(beyond)),
            )
        return self._ends

    def _place(self, operation: Operation) -> None:
        """Note at which revision an answer is to be checked, and where it is in the order."""
        response = cast(Response, operation.output)
        revision = response.header.revision
        if mutates(response):
            other = self._writes.setdefault(revision, operation)
            if other is not operation:
                raise Violation(
                    "one revision, one request", f"two at revision {revision}", [other, operation]
                )
            self._answered.append(((revision, 0, operation.called), operation))
            return
        request = operation.input
        at, linearizable = revision, True
        if isinstance(request, rpc_pb2.RangeRequest):
            at, linearizable = request.revision or revision, not request.serializable
        if at >= self._history.revision:
            self._reads[at].append(operation)
        elif linearizable and not (isinstance(request, rpc_pb2.RangeRequest) and request.revision):
            raise Violation(
                "reads are not stale",
                f"an answer at revision {at}, which was past at {self._history.revision}",
                [operation],
            )
        if linearizable:
            self._answered.append(((revision, 1, operation.called), operation))

    def _check_real_time(self) -> None:
        latest: Operation | None = None
        for _, operation in self._answered:
            if latest is not None and operation.returned < latest.called:
                raise Violation(
                    "linearizable",
                    "the first returned before the second was called, and is after it in the order"
                    " of revisions",
                    [operation, latest],
                )
            if latest is None or operation.called > latest.called:
                latest = operation

    def _deadlines(self) -> dict[int, float]:
        """For each revision without an answered write: when its cause was called at the latest."""
        deadlines: dict[int, float] = {}
        earliest, at = inf, len(self._answered) - 1
        for revision in range(self._end, self._history.revision, -1):
            while at >= 0 and self._answered[at][0][0] >= revision:
                earliest = min(earliest, self._answered[at][1].returned)
                at -= 1
            deadlines[revision] = earliest
        return deadlines

    def _explain(
        self, revision: int, events: list[kv_pb2.Event], deadlines: Mapping[int, float]
    ) -> None:
        write = self._writes.pop(revision, None)
        if write is not None:
            made = self._check_answer(write, revision)
            if made != events:
                raise Violation(
                    "events follow from requests",
                    f"revision {revision} should be {_show(made)}, watched was {_show(events)}",
                    [write],
                )
            return
        keys, ended = self._history.keys, self._lease_end(revision, events)
        if ended is not None and self._may_end(ended):
            self._ends.append(ended)
            return
        if self._history.unknown.explain(
            revision,
            deadlines[revision],
            lambda one: execute(keys, revision, cast(Request, one.input))[1] == events,
        ):
            return
        if ended is not None:
            self._ends.append(ended)
            return
        raise Violation(
            "every revision has a cause",
            f"no request explains revision {revision}: {_show(events)}",
            self._near(revision),
        )

    def _lease_end(self, revision: int, events: Sequence[kv_pb2.Event]) -> LeaseEnd | None:
        keys = self._history.keys
        gone = sorted(event.kv.key for event in events)
        if any(event.type != kv_pb2.Event.DELETE or event.kv.key not in keys for event in events):
            return None
        lease = keys[gone[0]].lease
        if lease == 0 or gone != sorted(key for key, kv in keys.items() if kv.lease == lease):
            return None
        return LeaseEnd(revision, lease, tuple(gone))

    def _check_answer(self, operation: Operation, revision: int) -> list[kv_pb2.Event]:
        """Compare with the model on the present state; returns the events that it makes."""
        request = cast(Request, operation.input)
        want, events = execute(self._history.keys, revision, request)
        have = without_headers(cast(Response, operation.output))
        if have != want:
            raise Violation(
                "answers follow from the state",
                f"at revision {revision - 1} the answer should be {line(want)}",
                [operation],
            )
        return events

    def _apply(self, revision: int, events: Sequence[kv_pb2.Event]) -> None:
        """Move the state on, checking what an event says of its key's past."""
        keys = self._history.keys
        for event in events:
            kv, previous = event.kv, keys.get(event.kv.key)
            if event.type == kv_pb2.Event.DELETE:
                right = previous is not None
                keys.pop(kv.key, None)
            else:
                created = previous.create_revision if previous else revision
                version = previous.version + 1 if previous else 1
                right = (kv.create_revision, kv.version) == (created, version)
                keys[kv.key] = kv
            if not right:
                raise Violation(
                    "events follow from the state",
                    f"revision {revision}: {line(event)} after {line(previous)}",
                )
        self._history.revision = revision

    def _near(self, revision: int) -> list[Operation]:
        """Return the answered requests around a revision, and the first unknown ones."""
        around = [one for place, one in self._answered if abs(place[0] - revision) <= 3]
        return around[:SLICE_LENGTH] + self._history.unknown.unused()[:SLICE_LENGTH]


def _may_write(operation: Operation) -> bool:
    return operation.kind != "range"


def _show(events: Iterable[kv_pb2.Event]) -> str:
    return "; ".join(line(event) for event in events) or "nothing"
