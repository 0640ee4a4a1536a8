"""Under which revision of users and roles a batch was allowed: its first command, where it matters.

While authentication is on, each batch says under which revision its commands were checked, and
apply refuses it as a whole where another holds by then: users and roles may have changed between
the check on one member and the entry's place in the log. While it is off there are no stamps.

To revoke a lease touches the keys that hang on it by then, so that its caller is judged again, by
name, when it is applied; such a command has a batch of its own.
"""

import struct
from contextvars import ContextVar

from raftkv._native.command_batch import read_header
from raftkv.auth import command
from raftkv.server.command import CommandKind

__all__ = ["BY_MEMBER_STAMP", "CHECKED", "split"]

CHECKED: ContextVar[bytes | None] = ContextVar("checked", default=None)
"""The stamp that a client's call was allowed under, maybe with the caller's name.

Tasks that the call begins inherit it."""

BY_MEMBER_STAMP = command.stamp(command.BY_MEMBER)

_HEADER_BYTES = 20
_COMMAND = struct.Struct("<BI")


def split(batch: bytes) -> tuple[int, int | None, str]:
    """Return (kind of the first command, stamped revision or None, name). Raises ValueError."""
    _, _, count, kind = read_header(batch)
    if kind != CommandKind.AUTH_STAMP:
        return kind, None, ""
    _, length = _COMMAND.unpack_from(batch, _HEADER_BYTES)
    begin = _HEADER_BYTES + _COMMAND.size
    revision, name = command.read_stamp(batch[begin : begin + length])
    if count < 2 or len(batch) < begin + length + _COMMAND.size:
        raise ValueError("a stamp with nothing behind it")
    return batch[begin + length], revision, name
