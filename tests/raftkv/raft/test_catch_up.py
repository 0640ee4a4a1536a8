"""A follower that reads on from the leader's disk is sent so much a tick, and no more."""

from __future__ import annotations

from raftkv.raft.messages import ENTRY_OVERHEAD_BYTES, MessageType
from raftkv.testing.driven_node import Driven

ENTRIES = 100
PER_TICK = 10
PER_APPEND = 4


def leader() -> Driven:
    """A leader with ENTRIES on disk, of which follower 2 has none, as it has just said."""
    driven = Driven(
        terms=[1] * ENTRIES,
        entries_per_append_max=PER_APPEND,
        catch_up_bytes_per_tick=PER_TICK * ENTRY_OVERHEAD_BYTES,
    )
    driven.lead()
    driven.drain(MessageType.APPEND)
    driven.step(
        MessageType.APPEND_RESPONSE, 2, driven.node.term, index=ENTRIES, reject=True, reject_hint=0
    )
    return driven


def sent_and_accepted(driven: Driven) -> int:
    """Let follower 2 accept at once whatever it is sent; returns how many entries that is."""
    count = 0
    while True:
        driven.sync()
        appends = [one for one in driven.drain(MessageType.APPEND) if one.to == 2]
        if not appends:
            return count
        for append in appends:
            count += len(append.entries)
            index = append.index + len(append.entries)
            driven.step(MessageType.APPEND_RESPONSE, 2, driven.node.term, index=index)


def test_so_much_a_tick_is_sent_from_disk() -> None:
    """An APPEND may pass the bound, and is made up for in the next tick."""
    driven = leader()
    counts = [sent_and_accepted(driven)]
    while driven.node.match_index(2) < driven.node.last_index:
        driven.node.tick()
        counts.append(sent_and_accepted(driven))
        assert PER_TICK * len(counts) <= sum(counts) + PER_APPEND or sum(counts) > ENTRIES
        assert sum(counts) <= PER_TICK * len(counts) + PER_APPEND + 1
    assert sum(counts) == ENTRIES + 1  # with the first of the leader's term


def test_what_is_in_memory_is_not_held_back() -> None:
    """A follower that is nearly level waits for no tick, even while another one catches up."""
    driven = leader()
    sent_and_accepted(driven)
    driven.step(MessageType.APPEND_RESPONSE, 3, driven.node.term, index=driven.node.last_index)
    driven.sync()
    driven.sent.clear()
    for _ in range(3 * PER_TICK):
        driven.node.propose(b"")
        driven.sync()
    entries = sum(len(one.entries) for one in driven.drain(MessageType.APPEND) if one.to == 3)
    assert entries == 3 * PER_TICK


def test_a_follower_is_sent_more_than_the_leader_appends() -> None:
    """Else it would never be level."""
    driven = leader()
    sent_and_accepted(driven)
    for _ in range(2 * PER_TICK):
        driven.node.propose(b"")
    driven.node.tick()
    assert sent_and_accepted(driven) >= 4 * PER_TICK - PER_APPEND
