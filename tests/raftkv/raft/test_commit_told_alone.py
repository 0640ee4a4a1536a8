"""An APPEND that only tells of a commit is answered where it is refused, and not otherwise."""

from __future__ import annotations

from raftkv.raft.messages import Entry, EntryKind, Message, MessageType
from raftkv.raft.replication import NO_ANSWER
from raftkv.testing.driven_node import Driven

LEADER = 2


def leader() -> Driven:
    """A leader that follower 2 has just told to hold everything, and that owes nothing."""
    driven = Driven()
    driven.lead()
    driven.step(MessageType.APPEND_RESPONSE, 2, driven.node.term, index=driven.node.last_index)
    driven.sync()
    driven.sent.clear()
    return driven


def appends_to(driven: Driven, member: int) -> list[Message]:
    return [one for one in driven.drain(MessageType.APPEND) if one.to == member]


def follower() -> Driven:
    """A follower of member 2 with two entries, of which none is known to be committed."""
    driven = Driven(terms=[1, 1], term=1)
    driven.step(MessageType.APPEND, LEADER, 1, log_term=1, index=2)
    driven.sync()
    assert [one.index for one in driven.drain(MessageType.APPEND_RESPONSE)] == [2]
    return driven


def test_a_leader_says_which_appends_need_no_answer() -> None:
    driven = leader()
    index = driven.node.propose(b"x")
    driven.sync()
    (with_entry,) = appends_to(driven, 2)
    assert with_entry.context == 0
    driven.step(MessageType.APPEND_RESPONSE, 2, driven.node.term, index=index)
    driven.sync()
    (news,) = appends_to(driven, 2)
    assert (news.entries, news.commit, news.context) == ((), index, NO_ANSWER)


def test_what_finds_out_where_a_follower_is_wants_an_answer() -> None:
    """A probe after lost messages, and the APPEND after a heartbeat's answer."""
    driven = leader()
    driven.node.report_unreachable(2)
    driven.step(MessageType.HEARTBEAT_RESPONSE, 2, driven.node.term)
    driven.sync()
    (probe,) = appends_to(driven, 2)
    assert (probe.entries, probe.context) == ((), 0)
    driven.step(MessageType.APPEND_RESPONSE, 2, driven.node.term, index=driven.node.last_index)
    driven.node.propose(b"x")
    driven.sync()
    driven.sent.clear()  # lost
    driven.step(MessageType.HEARTBEAT_RESPONSE, 2, driven.node.term)
    driven.sync()
    assert [one.context for one in appends_to(driven, 2)] == [0]


def test_a_follower_learns_of_the_commit_and_says_nothing() -> None:
    driven = follower()
    driven.step(MessageType.APPEND, LEADER, 1, log_term=1, index=2, commit=2, context=NO_ANSWER)
    driven.sync()
    assert driven.node.commit_index == 2
    assert driven.applied == [1, 2]
    assert driven.drain(MessageType.APPEND_RESPONSE) == []
    driven.step(MessageType.APPEND, LEADER, 1, log_term=1, index=1, commit=1, context=NO_ANSWER)
    driven.sync()
    assert driven.drain(MessageType.APPEND_RESPONSE) == [], "old news"


def test_a_follower_that_lacks_the_entry_refuses() -> None:
    driven = follower()
    driven.step(MessageType.APPEND, LEADER, 1, log_term=1, index=3, commit=3, context=NO_ANSWER)
    driven.sync()
    (refusal,) = driven.drain(MessageType.APPEND_RESPONSE)
    assert (refusal.reject, refusal.index, refusal.reject_hint) == (True, 3, 2)


def test_entries_are_always_acknowledged() -> None:
    driven = follower()
    entry = Entry(1, 3, EntryKind.NORMAL, b"x")
    driven.step(
        MessageType.APPEND, LEADER, 1, log_term=1, index=2, entries=(entry,), context=NO_ANSWER
    )
    driven.sync()
    assert [one.index for one in driven.drain(MessageType.APPEND_RESPONSE)] == [3]
