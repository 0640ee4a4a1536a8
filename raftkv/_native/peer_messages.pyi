"""Raft messages as the body of a frame between members, and back; see the .pxd for the bytes."""

from collections.abc import Sequence

from raftkv.raft.messages import Message

def encode(given: Sequence[Message], /) -> bytes:
    """Return the body. O(bytes); each entry's data is copied once.

    Raises OverflowError for a number that is no u64, or a batch of more than 4 GiB.
    """

def decode(body: bytes, /) -> list[Message]:
    """Return the messages of a body. Raises ValueError that says what is out of place."""
