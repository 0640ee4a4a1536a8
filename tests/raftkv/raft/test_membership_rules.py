"""Rules of membership, one node at a time, with its messages written by hand."""

from __future__ import annotations

import pytest

from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import (
    ChangeAction,
    ConfigurationChange,
    MemberChange,
    Transition,
)
from raftkv.raft.errors import (
    ConfigurationChangePending,
    InvalidConfigurationChange,
    NotLeader,
    ProposalDropped,
    UnknownMember,
)
from raftkv.raft.messages import Entry, EntryKind, MessageType
from raftkv.raft.roles import Role
from raftkv.testing.driven_node import Driven

LISTENED = Configuration(frozenset({1, 2, 3}), learners=frozenset({4}))


def leading(configuration: Configuration = LISTENED, **options: int | bool) -> Driven:
    """A leader of term 1 whose first entry is committed and applied."""
    driven = Driven(configuration=configuration, **options)  # type: ignore[arg-type]
    driven.lead()
    held_by(driven, 2)
    assert driven.applied == [1]
    return driven


def held_by(driven: Driven, *members: int) -> None:
    """Let members answer that they hold all of the leader's log."""
    for member in members:
        last = driven.node.last_index
        driven.step(MessageType.APPEND_RESPONSE, member, driven.node.term, index=last)
    driven.sync()


def test_learners_receive_and_do_not_count() -> None:
    driven = leading()
    index = driven.node.propose(b"x")
    driven.sync()
    assert {m.to for m in driven.drain(MessageType.APPEND)} >= {4}
    held_by(driven, 4)
    assert driven.node.commit_index < index
    held_by(driven, 3)
    assert driven.node.commit_index == index
    assert driven.node.status().followers[4].is_learner


def test_a_learner_votes_and_never_campaigns() -> None:
    """It may have been promoted without knowing it yet; its vote must not be missing then."""
    driven = Driven(configuration=Configuration(frozenset({2, 3}), learners=frozenset({1})))
    driven.node.campaign()
    for _ in range(50):
        driven.node.tick()
    driven.sync()
    assert driven.node.role is Role.FOLLOWER
    assert driven.drain(MessageType.PRE_VOTE) == []
    driven.step(MessageType.VOTE, 2, 1)
    driven.sync()
    assert [m.reject for m in driven.drain(MessageType.VOTE_RESPONSE)] == [False]


def test_learners_do_not_keep_a_leader_in_office() -> None:
    """Only voters that are heard count for check-quorum."""
    driven = leading()
    for _ in range(30):
        driven.node.tick()
        if driven.node.role is Role.LEADER:
            driven.step(MessageType.HEARTBEAT_RESPONSE, 4, driven.node.term)
    assert driven.node.role is Role.FOLLOWER


def test_a_promotion_takes_effect_when_applied() -> None:
    driven = leading()
    index = driven.node.propose_configuration(ConfigurationChange.promote(4))
    driven.sync()
    assert driven.node.configuration == LISTENED
    held_by(driven, 3)
    assert driven.node.applied_index == index
    assert driven.node.configuration == Configuration(frozenset({1, 2, 3, 4}))
    last = driven.node.propose(b"x")
    held_by(driven, 4)
    assert driven.node.commit_index < last, "two of four are no majority"
    held_by(driven, 2)
    assert driven.node.commit_index == last


def test_one_change_at_a_time() -> None:
    driven = leading()
    driven.node.propose_configuration(ConfigurationChange.add_learner(5))
    with pytest.raises(ConfigurationChangePending):
        driven.node.propose_configuration(ConfigurationChange.add_learner(6))
    held_by(driven, 2)
    driven.node.propose_configuration(ConfigurationChange.add_learner(6))


def test_a_new_leader_first_applies_what_it_found() -> None:
    """A change of an earlier leader may be among it."""
    driven = Driven(terms=[1, 1])
    driven.lead()
    with pytest.raises(ConfigurationChangePending):
        driven.node.propose_configuration(ConfigurationChange.add_learner(5))
    held_by(driven, 2)
    driven.node.propose_configuration(ConfigurationChange.add_learner(5))


def test_what_does_not_fit_is_refused_and_not_in_the_log() -> None:
    driven = leading()
    last = driven.node.last_index
    for change in (ConfigurationChange.promote(9), ConfigurationChange.leave_joint()):
        with pytest.raises(InvalidConfigurationChange):
            driven.node.propose_configuration(change)
    assert driven.node.last_index == last
    with pytest.raises(NotLeader):
        Driven().node.propose_configuration(ConfigurationChange.add_learner(5))


def test_a_joint_configuration_needs_both_majorities_and_ends_by_itself() -> None:
    driven = leading(Configuration(frozenset({1, 2, 3})))
    changes = tuple(MemberChange(ChangeAction.ADD_VOTER, member) for member in (4, 5))
    driven.node.propose_configuration(ConfigurationChange(changes))
    held_by(driven, 2)
    assert driven.node.configuration.voters == {1, 2, 3, 4, 5}
    assert driven.node.configuration.is_joint
    last = driven.node.last_index
    held_by(driven, 2)
    assert driven.node.commit_index < last, "the new voters have no majority"
    held_by(driven, 4)
    assert driven.node.commit_index >= last
    assert driven.node.configuration == Configuration(frozenset({1, 2, 3, 4, 5}))


def test_an_explicit_joint_configuration_waits_to_be_left() -> None:
    driven = leading(Configuration(frozenset({1, 2, 3})))
    change = ConfigurationChange((MemberChange(ChangeAction.REMOVE, 3),), Transition.JOINT_EXPLICIT)
    driven.node.propose_configuration(change)
    held_by(driven, 2)
    assert driven.node.configuration.is_joint
    with pytest.raises(InvalidConfigurationChange, match="already joint"):
        driven.node.propose_configuration(ConfigurationChange.add_voter(4))
    driven.node.propose_configuration(ConfigurationChange.leave_joint())
    held_by(driven, 2)
    assert driven.node.configuration == Configuration(frozenset({1, 2}))
    assert set(driven.node.status().followers) == {2}


def test_a_removed_leader_steps_down_and_names_an_heir() -> None:
    driven = leading(Configuration(frozenset({1, 2, 3})))
    driven.node.propose_configuration(ConfigurationChange.remove(1))
    held_by(driven, 3)
    assert driven.node.role is Role.FOLLOWER
    told = [m for m in driven.sent if m.type in (MessageType.APPEND, MessageType.TIMEOUT_NOW)]
    heir = told[-1]
    assert (heir.type, heir.to) == (MessageType.TIMEOUT_NOW, 3)
    commits = [m.commit for m in told if m.type is MessageType.APPEND and m.to == 3]
    assert commits[-1] == driven.node.commit_index, "the heir learns of the removal first"
    driven.node.campaign()
    assert driven.node.role is Role.FOLLOWER, "no voter any more"


def test_a_smaller_quorum_commits_at_once() -> None:
    """The removal itself needs two of three, what follows it in the log then needs only us."""
    driven = leading(Configuration(frozenset({1, 2})))
    removal = driven.node.propose_configuration(ConfigurationChange.remove(2))
    last = driven.node.propose(b"x")
    driven.sync()
    assert driven.node.commit_index < removal
    driven.step(MessageType.APPEND_RESPONSE, 2, 1, index=removal)
    driven.sync()
    assert driven.node.commit_index == last


def test_reads_go_by_the_members_of_the_moment() -> None:
    driven = leading(Configuration(frozenset({1, 2})))
    driven.node.propose_configuration(ConfigurationChange.remove(2))
    driven.node.read_index(7)
    driven.sync()
    assert driven.reads == []
    held_by(driven, 2)
    assert [read.context for read in driven.reads] == [7], "nobody else is left to ask"


def test_nobody_campaigns_by_rules_that_are_over() -> None:
    """A committed change that is not applied holds elections up, and a hand-over waits for it."""
    driven = Driven(configuration=Configuration(frozenset({1, 2, 3})))
    change = ConfigurationChange.remove(3).encode()
    entry = Entry(1, 1, EntryKind.CONF_CHANGE, change)
    driven.step(MessageType.APPEND, 2, 1, entries=(entry,), commit=1)
    driven.step(MessageType.TIMEOUT_NOW, 2, 1)
    roles = [driven.node.role]
    driven.sync()
    roles.append(driven.node.role)
    assert roles == [Role.FOLLOWER, Role.CANDIDATE]
    asked = driven.drain(MessageType.VOTE)
    assert {m.to for m in asked} == {2}


@pytest.mark.parametrize("term", [1, 5])
def test_a_refused_candidate_learns_what_is_committed(term: int) -> None:
    """Else it would ask for ever a former voter that holds more, and that may not lead.

    A pre-vote raises no term, so the refuser may be of an earlier one than the candidate.
    """
    driven = Driven(configuration=Configuration(frozenset({1, 2})))
    change = ConfigurationChange((MemberChange(ChangeAction.ADD_LEARNER, 2),)).encode()
    entry = Entry(1, 1, EntryKind.CONF_CHANGE, change)
    driven.step(MessageType.APPEND, 2, 1, entries=(entry,))
    driven.sync()
    driven.step(MessageType.HEARTBEAT, 2, term)
    driven.node.campaign()
    driven.sync()
    driven.step(MessageType.PRE_VOTE_RESPONSE, 2, 1, reject=True, commit=1, log_term=1)
    driven.sync()
    assert driven.node.configuration == Configuration(frozenset({1}), learners=frozenset({2}))
    driven.node.campaign()
    driven.sync()
    assert driven.node.role is Role.LEADER


def test_a_refusal_commits_nothing_that_is_not_the_same_entry() -> None:
    driven = Driven(terms=[1, 1])
    driven.node.campaign()
    driven.sync()
    driven.step(MessageType.PRE_VOTE_RESPONSE, 2, 1, reject=True, commit=2, log_term=3)
    assert driven.node.commit_index == 0


def test_a_granted_candidate_learns_what_is_committed() -> None:
    """Else it would ask for ever former voters that were told to end.

    Member 3 knows that the joint configuration is left, and that 2 and 4 are no members any more.
    """
    joint = Configuration(frozenset({1, 3}), voters_outgoing=frozenset({1, 2, 4}))
    driven = Driven(configuration=joint)
    leave = ConfigurationChange(()).encode()
    driven.step(MessageType.APPEND, 2, 1, entries=(Entry(1, 1, EntryKind.CONF_CHANGE, leave),))
    driven.sync()
    driven.node.campaign()
    driven.step(MessageType.PRE_VOTE_RESPONSE, 3, 2, commit=1, log_term=1)
    driven.sync()
    assert driven.node.configuration == Configuration(frozenset({1, 3}))
    driven.node.campaign()
    driven.step(MessageType.PRE_VOTE_RESPONSE, 3, 2)
    driven.step(MessageType.VOTE_RESPONSE, 3, 2)
    driven.sync()
    assert driven.node.role is Role.LEADER


def test_an_answer_that_knows_less_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's writer may cut just there, on its thread, between two looks at the log."""
    driven = Driven(terms=[1, 1, 1], term=1)
    driven.step(MessageType.APPEND, 2, 1, log_term=1, index=3, commit=3)
    driven.sync()
    driven.log.truncate_prefix(2)
    monkeypatch.setattr(type(driven.log), "first_index", 1)  # as it was at the first look
    driven.step(MessageType.PRE_VOTE_RESPONSE, 3, 1, commit=1, log_term=1, reject=True)
    assert driven.node.commit_index == 3


def test_leadership_goes_to_voters_only_and_the_word_is_repeated() -> None:
    driven = leading()
    with pytest.raises(UnknownMember):
        driven.node.transfer_leader(4)
    driven.node.transfer_leader(2)
    driven.sync()
    assert len(driven.drain(MessageType.TIMEOUT_NOW)) == 1
    with pytest.raises(ProposalDropped, match="handed over"):
        driven.node.propose(b"x")
    driven.step(MessageType.HEARTBEAT_RESPONSE, 2, 1)
    driven.sync()
    assert len(driven.drain(MessageType.TIMEOUT_NOW)) == 1
    for _ in range(10):
        driven.node.tick()
        driven.step(MessageType.HEARTBEAT_RESPONSE, 3, 1)
    driven.node.propose(b"x")


def test_a_transfer_ends_with_the_heirs_membership() -> None:
    driven = leading(Configuration(frozenset({1, 2, 3})))
    driven.node.propose_configuration(ConfigurationChange.remove(3))
    driven.node.transfer_leader(3)
    held_by(driven, 2)
    assert driven.node.status().transferee == 0
    driven.node.propose(b"x")


def test_uncommitted_bytes_are_bounded() -> None:
    driven = leading(uncommitted_bytes_max=1000)
    driven.node.propose(bytes(2000))
    with pytest.raises(ProposalDropped, match="await commitment"):
        driven.node.propose(b"")
    with pytest.raises(ProposalDropped, match="await commitment"):
        driven.node.propose_configuration(ConfigurationChange.add_learner(5))
    held_by(driven, 2)
    assert driven.node.status().uncommitted_bytes == 0
    driven.node.propose(b"")


def test_what_is_under_way_to_a_follower_is_bounded_in_entries_and_bytes() -> None:
    driven = leading(
        inflight_appends_max=4,
        entries_per_append_max=2,
        append_bytes_max=500,
        inflight_bytes_max=900,
    )
    held_by(driven, 2, 3)
    driven.sent.clear()
    for size in [1] * 20:
        driven.node.propose(bytes(size))
    driven.sync()
    assert driven.node.status().followers[3].inflight_appends == 4
    sent = [m for m in driven.drain(MessageType.APPEND) if m.to == 3]
    assert sum(len(m.entries) for m in sent) == 8
    held_by(driven, 2, 3)
    driven.sent.clear()
    for size in [400] * 10:
        driven.node.propose(bytes(size))
    driven.sync()
    status = driven.node.status().followers[3]
    assert 900 <= status.inflight_bytes < 900 + 500
    assert status.inflight_appends == 3
