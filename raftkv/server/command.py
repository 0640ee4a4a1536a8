"""Kinds of commands in a batch, and waiters that are no gRPC stream."""

import asyncio
from enum import IntEnum

from raftkv.errors import ERRORS, ErrorCode, StoreError

__all__ = ["CommandKind", "FutureWaiter", "NobodyWaits", "fail_with", "lone_payload"]

from raftkv._native.command_batch import read_commands
from raftkv._native.waiter import Waiter


class CommandKind(IntEnum):
    """What a command is; its payload is the request's protobuf bytes below 64."""

    PUT = 1
    DELETE_RANGE = 2
    TXN = 3
    COMPACTION = 4
    LEASE_GRANT = 5
    LEASE_REVOKE = 6
    MEMBER_RECORD = 64
    """Published name and client URLs of a member; opaque to the store."""
    ALARM = 65
    """An AlarmRequest; opaque to the store."""
    AUTH = 66
    """A change of users, roles or permissions (`raftkv.auth.command`)."""
    AUTH_STAMP = 67
    """First in a batch: the revision of users and roles that it was allowed under."""
    DOWNGRADE = 72
    """A DowngradeRequest; opaque to the store."""
    LEASE_TERMS = 73
    """How long leases have left to live, see `lease_terms`; opaque to the store."""


_CODE_OF_TEXT = {text: code for code, (_, text) in ERRORS.items()}


class FutureWaiter:
    """Turns an answer into the result of a future."""

    __slots__ = ("future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[bytes] = loop.create_future()

    def reply(self, message: bytes) -> None:
        """Complete the future with a response message."""
        if not self.future.done():
            self.future.set_result(message)

    def fail(self, code: int, text: str) -> None:
        """Complete the future with the StoreError of that text."""
        if not self.future.done():
            self.future.set_exception(StoreError(_CODE_OF_TEXT[text]))


class NobodyWaits:
    """Takes the answer to a command that the member proposed for itself."""

    __slots__ = ()

    def reply(self, message: bytes) -> None:
        """Ignore the answer."""

    def fail(self, code: int, text: str) -> None:
        """Ignore the failure: what still matters is proposed again later."""


def fail_with(waiter: Waiter, code: ErrorCode) -> None:
    """Fail a waiter with one of etcd's errors."""
    status, text = ERRORS[code]
    waiter.fail(status, text)


def lone_payload(batch: bytes, kind: int) -> bytes:
    """Return the payload of the one command of a kind that gets a batch of its own.

    A stamp may be before it. Raises ValueError where there is none of the kind, or more.
    """
    (payload,) = (payload for one, payload in read_commands(batch) if one == kind)
    return payload
