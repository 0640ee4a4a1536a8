"""What members send each other beside Raft's own messages, one way and without an answer.

u8 what, little-endian fields, then a payload:
`PROPOSE u64 term, batch` asks the leader of that very term to propose a batch;
`REFUSED u64 batch id, u8 error code` tells its sender that this certainly did not happen;
`TOKEN_USED u64 milliseconds, token id` tells when a client used a token, so that it lives on here.
"""

import struct
from dataclasses import dataclass

from raftkv.errors import ErrorCode

__all__ = ["Forwarded", "Propose", "Refused", "TokenUsed", "decode", "encode"]

TOKEN_ID_BYTES = 16

_PROPOSE, _REFUSED, _TOKEN_USED = 1, 2, 3
_NUMBER = struct.Struct("<BQ")
_REFUSAL = struct.Struct("<BQB")


@dataclass(frozen=True, slots=True)
class Propose:
    """Propose `batch` if you lead in `term`, or say `Refused`."""

    term: int
    batch: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The batch is certainly not in the log."""

    batch_id: int
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class TokenUsed:
    """A token was used at this wall time, in milliseconds."""

    used_ms: int
    token_id: bytes


Forwarded = Propose | Refused | TokenUsed


def encode(message: Forwarded) -> bytes:
    """Return the bytes of a message."""
    match message:
        case Propose(term, batch):
            return _NUMBER.pack(_PROPOSE, term) + batch
        case Refused(batch_id, code):
            return _REFUSAL.pack(_REFUSED, batch_id, code)
        case TokenUsed(used_ms, token_id):
            return _NUMBER.pack(_TOKEN_USED, used_ms) + token_id


def decode(data: bytes) -> Forwarded:
    """Read a message. Raises ValueError for anything that `encode` does not make."""
    if len(data) < _NUMBER.size:
        raise ValueError("a forwarded message ends early")
    what, number = _NUMBER.unpack_from(data)
    if what == _PROPOSE:
        return Propose(number, data[_NUMBER.size :])
    if what == _TOKEN_USED and len(data) == _NUMBER.size + TOKEN_ID_BYTES:
        return TokenUsed(number, data[_NUMBER.size :])
    if what == _REFUSED and len(data) == _REFUSAL.size:
        return Refused(number, ErrorCode(data[-1]))
    raise ValueError(f"unknown or malformed forwarded message {what}")
