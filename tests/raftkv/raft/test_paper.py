"""Rules of the paper, one node at a time, with its messages written by hand."""

from __future__ import annotations

import pytest

from raftkv.raft.config import RaftConfig
from raftkv.raft.errors import NoLeader, NotLeader, ProposalDropped, UnknownMember
from raftkv.raft.messages import Entry, EntryKind, HardState, MessageType
from raftkv.raft.ready import ReadState
from raftkv.raft.roles import TRANSITIONS, Role
from raftkv.testing.driven_node import Driven


def test_votes_are_asked_for_and_given_only_when_synced() -> None:
    """A candidate's term and vote are on disk before anybody hears of them (Raft §5.2)."""
    driven = Driven(pre_vote=False)
    driven.node.campaign()
    driven.take()
    assert driven.sent == []
    assert driven.work is not None
    assert driven.work.hard_state == HardState(1, 1, 0)
    driven.sync()
    assert {m.to for m in driven.drain(MessageType.VOTE)} == {2, 3}

    voter = Driven()
    voter.step(MessageType.VOTE, 2, 1)
    voter.take()
    assert voter.sent == []
    voter.sync()
    [answer] = voter.drain(MessageType.VOTE_RESPONSE)
    assert (answer.to, answer.reject) == (2, False)


def test_one_vote_a_term_first_come_first_served() -> None:
    """Raft §5.2."""
    driven = Driven()
    for candidate, refused in ((2, False), (3, True), (2, False)):
        driven.step(MessageType.VOTE, candidate, 1)
        driven.sync()
        [answer] = driven.drain(MessageType.VOTE_RESPONSE)
        assert answer.reject is refused


@pytest.mark.parametrize(
    ("index", "log_term", "refused"),
    [(3, 2, False), (2, 2, True), (9, 1, True), (1, 3, False), (4, 2, False)],
)
def test_votes_go_to_logs_that_are_up_to_date(index: int, log_term: int, refused: bool) -> None:
    """The later last term wins, then the longer log (Raft §5.4.1)."""
    driven = Driven(terms=[1, 1, 2])
    driven.step(MessageType.VOTE, 2, 5, index=index, log_term=log_term)
    driven.sync()
    [answer] = driven.drain(MessageType.VOTE_RESPONSE)
    assert answer.reject is refused


def test_a_candidate_of_an_old_term_learns_of_ours() -> None:
    """Raft §5.1; by a message that is no vote, should it campaign in our term meanwhile."""
    driven = Driven(terms=[4])
    driven.step(MessageType.VOTE, 3, 2, index=7, log_term=1)
    driven.sync()
    [answer] = driven.sent
    assert (answer.type, answer.to, answer.term) == (MessageType.HEARTBEAT_RESPONSE, 3, 4)


@pytest.mark.parametrize(
    ("index", "log_term", "waits"), [(2, 1, True), (1, 2, True), (1, 1, False)]
)
def test_a_candidate_lets_a_rival_with_more_entries_be_first(
    index: int, log_term: int, waits: bool
) -> None:
    """Its own next campaign is later than that of whoever campaigned just now."""
    driven = Driven(terms=[1], pre_vote=False)
    driven.node.campaign()
    driven.sync()
    for _ in range(5):
        driven.node.tick()
    driven.step(MessageType.VOTE, 3, 2, index=index, log_term=log_term)
    timeout = RaftConfig(id=1).election_timeout_ticks
    for _ in range(2 * timeout - 1):
        driven.node.tick()
    assert driven.node.term == (2 if waits else 3)
    driven.node.tick()
    assert driven.node.term == 3


def test_pre_vote_changes_nothing() -> None:
    """Neither the asker's nor the asked one's term moves (Raft dissertation §9.6)."""
    driven = Driven(terms=[1])
    driven.step(MessageType.PRE_VOTE, 2, 9, index=1, log_term=1)
    driven.node.campaign()
    driven.sync()
    assert driven.node.term == 1
    assert driven.log.hard_state() == HardState(1, 0, 0)


def test_a_member_that_hears_its_leader_refuses_to_elect_another() -> None:
    """Raft dissertation §4.2.3; a transfer of the leadership is the exception (§3.10)."""
    driven = Driven()
    driven.step(MessageType.HEARTBEAT, 2, 1)
    driven.step(MessageType.VOTE, 3, 2)
    driven.sync()
    assert driven.node.term == 1
    driven.step(MessageType.VOTE, 3, 2, force=True)
    driven.sync()
    [answer] = driven.drain(MessageType.VOTE_RESPONSE)
    assert not answer.reject


def test_a_leader_without_a_quorum_steps_down() -> None:
    """Raft dissertation §6.2."""
    driven = Driven()
    driven.lead()
    for _ in range(10):
        driven.node.tick()
    assert (driven.node.role, driven.node.leader_id) == (Role.FOLLOWER, 0)
    with pytest.raises(NotLeader):
        driven.node.propose(b"")
    with pytest.raises(NoLeader):
        driven.node.read_index(1)


def test_entries_of_earlier_terms_are_not_committed_by_counting() -> None:
    """An entry of an old term commits only through one of the leader's own (Raft Figure 8)."""
    driven = Driven(terms=[1, 2])
    driven.lead()
    driven.step(MessageType.APPEND_RESPONSE, 2, 3, index=2)
    driven.sync()
    assert driven.node.commit_index == 0
    driven.step(MessageType.APPEND_RESPONSE, 2, 3, index=3)
    driven.sync()
    assert driven.node.commit_index == 3
    assert driven.applied == [1, 2, 3]


def test_the_leader_counts_itself_only_after_its_sync() -> None:
    """Two of three need both to be durable; appends leave before the sync nevertheless."""
    driven = Driven()
    driven.lead()
    driven.step(MessageType.APPEND_RESPONSE, 2, 1, index=1)
    driven.sync()
    driven.drain(MessageType.APPEND)
    index = driven.node.propose(b"data")
    driven.take()
    assert [m.entries[0].data for m in driven.drain(MessageType.APPEND) if m.entries] == [b"data"]
    driven.step(MessageType.APPEND_RESPONSE, 2, 1, index=index)
    driven.take()
    assert driven.node.commit_index == index - 1
    driven.sync()
    assert driven.node.commit_index == index


def test_a_conflicting_tail_is_replaced_and_acknowledged_after_the_sync() -> None:
    """Raft §5.3, Figure 7."""
    driven = Driven(terms=[1, 1, 2, 2])
    new = (Entry(3, 3, EntryKind.NORMAL, b"new"),)
    driven.step(MessageType.APPEND, 2, 3, index=2, log_term=1, entries=new, commit=3)
    driven.take()
    assert driven.drain(MessageType.APPEND_RESPONSE) == []
    assert driven.applied == [1, 2]
    driven.sync()
    assert [m.index for m in driven.drain(MessageType.APPEND_RESPONSE)] == [3]
    assert (driven.log.last_index, driven.log.term(3)) == (3, 3)
    assert driven.applied == [1, 2, 3]


def test_a_refusal_skips_a_whole_term() -> None:
    """The hint names the last entry whose term the leader may share (Raft §5.3)."""
    driven = Driven(terms=[1, 1, 4, 4, 4, 4])
    driven.step(MessageType.APPEND, 2, 5, index=6, log_term=3)
    driven.sync()
    [answer] = driven.drain(MessageType.APPEND_RESPONSE)
    assert (answer.reject, answer.reject_hint, answer.log_term) == (True, 2, 1)


def test_reads_wait_for_the_own_term_and_then_for_a_quorum() -> None:
    """Raft dissertation §6.4."""
    driven = Driven()
    driven.lead()
    driven.node.read_index(7)
    driven.sync()
    driven.step(MessageType.APPEND_RESPONSE, 2, 1, index=1)
    driven.sync()
    [beat, _] = driven.drain(MessageType.HEARTBEAT)[-2:]
    assert driven.reads == []
    driven.step(MessageType.HEARTBEAT_RESPONSE, 2, 1, context=beat.context - 1)
    driven.sync()
    assert driven.reads == []
    driven.step(MessageType.HEARTBEAT_RESPONSE, 2, 1, context=beat.context)
    driven.sync()
    assert driven.reads == [ReadState(7, 1)]


def test_a_transfer_waits_until_the_next_leader_is_level() -> None:
    """Raft dissertation §3.10; proposals are refused meanwhile."""
    driven = Driven()
    driven.lead()
    driven.node.transfer_leader(2)
    driven.sync()
    assert driven.drain(MessageType.TIMEOUT_NOW) == []
    with pytest.raises(ProposalDropped):
        driven.node.propose(b"")
    driven.step(MessageType.APPEND_RESPONSE, 2, 1, index=1)
    driven.sync()
    assert [m.to for m in driven.drain(MessageType.TIMEOUT_NOW)] == [2]
    with pytest.raises(UnknownMember):
        driven.node.transfer_leader(9)


def test_uncommitted_entries_are_bounded() -> None:
    driven = Driven(uncommitted_bytes_max=1000)
    driven.lead()
    driven.node.propose(bytes(800))
    with pytest.raises(ProposalDropped, match="await commitment"):
        driven.node.propose(bytes(800))
    driven.sync()
    driven.step(MessageType.APPEND_RESPONSE, 2, 1, index=2)
    driven.node.propose(bytes(800))


def test_appends_to_a_follower_are_bounded() -> None:
    """A follower that answers nothing gets no more than the window."""
    driven = Driven(inflight_appends_max=3)
    driven.lead()
    driven.step(MessageType.APPEND_RESPONSE, 2, 1, index=1)
    driven.sync()
    driven.drain(MessageType.APPEND)
    for _ in range(10):
        driven.node.propose(b"x")
        driven.sync()
    to_two = [m for m in driven.drain(MessageType.APPEND) if m.to == 2 and m.entries]
    assert len(to_two) == 3


def test_a_leader_of_an_old_term_learns_of_the_new_one() -> None:
    """A member that is stuck in a higher term is let back in."""
    driven = Driven(term=5)
    driven.step(MessageType.HEARTBEAT, 2, 3)
    driven.sync()
    assert [m.term for m in driven.sent] == [5]


def test_the_table_of_roles_is_closed() -> None:
    assert set(TRANSITIONS) == set(Role)
    assert Role.LEADER not in TRANSITIONS[Role.FOLLOWER]
    assert TRANSITIONS[Role.LEADER] == {Role.FOLLOWER}


def test_configurations_are_checked_all_at_once() -> None:
    with pytest.raises(ValueError, match="0 is no member id; need 1 <="):
        RaftConfig(id=0, heartbeat_ticks=0).validate()
