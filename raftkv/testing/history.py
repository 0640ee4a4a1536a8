"""What clients saw: the records that every checker reads.

Times are seconds on one clock that all clients of a run share (the simulated one, or a monotonic
one of the machine that runs them all).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf

from google.protobuf.message import Message

__all__ = ["Operation", "Outcome"]


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
