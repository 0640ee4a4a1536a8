"""Raft messages as the body of a frame between members, and back; see the .pxd for the bytes."""

from collections.abc import Sequence

from raftkv.raft.messages import Message

def encode(given: Sequence[Message], /) -> bytes:
    """Return the body. O(bytes); each entry's data is copied once.

    Raises OverflowError for a number that is no u64, or a batch of more than 4 GiB.
    """

def decode(body: bytes, /) -> list[Message]:
    """Return the messages of a body. Raises ValueError that says what is out of place."""

def encode_frame(given: Sequence[Message], /) -> bytes:
    """Return the whole frame; its length is not looked at. Costs and raises as `encode` does."""

def messages_of_frame(data: bytes, sender: int, receiver: int, /) -> list[Message] | None:
    """Return the messages of `data` if it is one whole frame of them, from one to the other.

    None for all else, right or wrong, and for frames above `SHORT_FRAME_BYTES_MAX`.
    """
