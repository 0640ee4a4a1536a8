"""What clients saw: the records that every checker reads.

Times are seconds on one clock that all clients of a run share (the simulated one, or a monotonic
one of the machine that runs them all).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from google.protobuf.message import Message

from raftkv.pb.etcd import rpc_pb2 as pb

__all__ = ["Operation", "Outcome", "Violation", "WatchStream", "line"]

LINE_LENGTH = 1000


class Violation(Exception):
    """A promise that the store broke. `slice` holds the records that show it, in order."""

    def __init__(self, promise: str, text: str, records: Sequence[object] = ()) -> None:
        self.promise = promise
        self.text = text
        self.slice = list(records)
        lines = [f"{promise}: {text}", *(f"    {line(record)}" for record in self.slice)]
        super().__init__("\n".join(lines))


class Outcome(Enum):
    """What the client knows at the end."""

    OK = "ok"
    """It happened, between `called` and `returned`; `output` is the answer."""
    FAILED = "failed"
    """It certainly did not happen, and never will."""
    UNKNOWN = "unknown"
    """It may have happened, or may yet, or never: `returned` is infinite."""


@dataclass(slots=True)
class Operation:
    """One request of one client. A client has one request at a time, except for watches."""

    client: int
    kind: str
    """put, range, delete_range, txn, compact, lease_grant, lease_revoke, lease_keep_alive."""
    input: Message
    """The request message of etcdserverpb."""
    called: float
    output: Message | None = None
    """The response message; None unless the outcome is OK."""
    returned: float = inf
    outcome: Outcome = Outcome.UNKNOWN
    error: str = ""
    """The error's text where there was one."""
    endpoint: int = 0
    """The id of the member that was asked."""
    number: int = 0
    """Tells the operations of a run apart."""


@dataclass(slots=True)
class WatchStream:
    """One watch on one connection, from its creation until it broke or was closed."""

    client: int
    request: pb.WatchCreateRequest
    """As sent. `start_revision` 0: from the revision after the one in the creation's header."""
    responses: list[tuple[float, pb.WatchResponse]] = field(default_factory=list)
    """(when received, what), the creation first."""
    endpoint: int = 0


def line(record: object) -> str:
    """Show a record in one line, without the rest of very long values."""
    text = " ".join(str(record).split())
    return text if len(text) <= LINE_LENGTH else f"{text[:LINE_LENGTH]}... ({len(text)})"
