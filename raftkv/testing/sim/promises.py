"""What a member may say only once it is on its disk (Raft §5.1: "updated on stable storage")."""

from __future__ import annotations

from raftkv.raft.messages import Message, MessageType
from raftkv.raft.node import RaftNode
from raftkv.testing.memory_log import MemoryLog
from raftkv.testing.safety import SafetyViolation

__all__ = ["check_promise"]


def check_promise(message: Message, node: RaftNode, log: MemoryLog) -> None:
    """Raise SafetyViolation if a message that leaves vouches for what `log` does not hold.

    `log` is what the disk would give back after a power cut at this moment.
    """
    if message.type is MessageType.APPEND_RESPONSE and not message.reject:
        if not _holds(message, node, log):
            raise SafetyViolation(
                "Persist Before Answer",
                f"{node.id} acknowledges {message.index}, its disk ends at {log.last_index}",
            )
    elif message.type is MessageType.VOTE or (
        message.type is MessageType.VOTE_RESPONSE and not message.reject
    ):
        candidate = message.to if message.type is MessageType.VOTE_RESPONSE else node.id
        stored = log.hard_state()
        if stored.term < message.term or (stored.term == message.term and stored.vote != candidate):
            raise SafetyViolation(
                "Persist Before Answer",
                f"{node.id} votes for {candidate} in {message.term}, its disk says {stored}",
            )


def _holds(message: Message, node: RaftNode, log: MemoryLog) -> bool:
    index, known = message.index, node._state.log
    if index > log.last_index:
        return False
    if index < max(log.first_index, known.first_index):
        return True  # it was applied, and is in the state
    if index > known.last_index:
        return True  # the short way: it is synced, and the node is told next
    if message.term < node.term:
        # An earlier leader's entry, synced while a later one's took its place in memory. It was
        # taken before this member met the later term, so the answer is as good as an early one.
        return log.term(index) <= message.term
    return log.term(index) == known.term(index)
