"""Judge a run once more, by the checkers that real processes are judged by.

`verdict` knows the committed log and compares everything with it. These know only what clients and
watchers saw, and a model of the store in plain Python: two judges that share no code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from raftkv.pb.etcd import kv_pb2, rpc_pb2
from raftkv.testing.history import Operation, WatchStream
from raftkv.testing.lease_check import LeaseBook
from raftkv.testing.revision_check import Events, LeaseEnd, RevisionHistory, check_operations
from raftkv.testing.sim.truth import Truth
from raftkv.testing.watch_check import WatchedHistory, check_stream

__all__ = ["check_again"]

CLOCK_RATES = (0.94, 1.06)
"""Slower and faster than the clock of any member ever is."""


def check_again(
    operations: list[Operation],
    streams: Iterable[WatchStream],
    truth: Truth,
    committed_s: Callable[[int], float],
    end_s: float,
) -> None:
    """Check operations, watches and leases of a run that is over. Raises Violation.

    `committed_s` tells when a log index was committed.
    """
    events = _events(truth)
    history = RevisionHistory()
    known = [replace(one, kind="txn") if one.kind == "read_txn" else one for one in operations]
    leases = LeaseBook(fastest=CLOCK_RATES[1], slowest=CLOCK_RATES[0])
    leases.add(operations, end_s)

    def ended_s(end: LeaseEnd) -> float:
        return committed_s(truth.index_of_revision[end.revision])

    ends = check_operations(
        history, known, events, truth.revision, lambda end: leases.may_end(end, ended_s(end))
    )
    for end in ends:
        leases.check_end(end, ended_s(end))
    compacted = max(
        (
            one.input.revision
            for one in operations
            if isinstance(one.input, rpc_pb2.CompactionRequest)
        ),
        default=0,
    )
    watched = WatchedHistory(1, {}, events, compacted)
    for stream in streams:
        check_stream(watched, stream)


def _events(truth: Truth) -> Events:
    """Return the events of each revision, as a watch over all keys tells them."""
    found: Events = {}
    for event in truth.events:
        bare = kv_pb2.Event(type=event.type, kv=event.kv)
        found.setdefault(event.kv.mod_revision, []).append(bare)
    return found
