"""Snapshots, one node at a time: who gets one, how it is taken in, what it must never undo."""

from __future__ import annotations

import random

import pytest

from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ConfigurationChange
from raftkv.raft.errors import CorruptEntry
from raftkv.raft.log import must_reset
from raftkv.raft.messages import Entry, EntryKind, HardState, MessageType, SnapshotMetadata
from raftkv.raft.node import RaftNode
from raftkv.raft.progress import ProgressState
from raftkv.raft.roles import Role
from raftkv.testing.driven_node import THREE, Driven
from raftkv.testing.memory_log import MemoryLog


def leading_behind_a_cut(cut: int = 5) -> Driven:
    """A leader whose log of ten entries was cut at `cut`, all applied; 2 is level, 3 unknown."""
    driven = Driven(terms=[1] * 10)
    driven.lead()
    driven.step(MessageType.APPEND_RESPONSE, 2, 2, index=11)
    driven.sync()
    assert driven.node.applied_index == 11
    driven.log.truncate_prefix(cut)
    driven.sent.clear()
    return driven


def refuse(driven: Driven, member: int, hint: int) -> None:
    """Let a follower refuse the probe at the log's end: its own log ends at `hint`."""
    driven.step(
        MessageType.APPEND_RESPONSE, member, 2, reject=True, index=10, reject_hint=hint, log_term=1
    )
    driven.sync()


def follower(driven: Driven, member: int = 3) -> ProgressState:
    return driven.node.status().followers[member].state


def test_who_is_behind_the_log_is_offered_a_snapshot() -> None:
    driven = leading_behind_a_cut()
    refuse(driven, 3, 4)
    (offer,) = driven.drain(MessageType.SNAPSHOT)
    assert offer.to == 3
    assert offer.snapshot == SnapshotMetadata(11, 2, THREE)
    assert follower(driven) is ProgressState.SNAPSHOT
    assert driven.node.status().followers[3].pending_snapshot == 11
    driven.node.propose(b"x")
    driven.step(MessageType.HEARTBEAT_RESPONSE, 3, 2)
    driven.sync()
    assert [m.to for m in driven.drain(MessageType.APPEND)] == [2], "nothing else goes there"


def test_who_is_just_at_the_cut_gets_entries() -> None:
    driven = leading_behind_a_cut()
    refuse(driven, 3, 5)
    assert driven.drain(MessageType.SNAPSHOT) == []
    assert follower(driven) is ProgressState.PROBE


def test_a_snapshot_carries_the_membership_of_its_moment() -> None:
    driven = leading_behind_a_cut()
    driven.node.propose_configuration(ConfigurationChange.add_learner(4))
    driven.sync()
    driven.step(MessageType.APPEND_RESPONSE, 2, 2, index=12)
    driven.sync()
    driven.sent.clear()
    refuse(driven, 3, 4)
    (offer,) = driven.drain(MessageType.SNAPSHOT)
    assert offer.snapshot == SnapshotMetadata(
        12, 2, Configuration(frozenset({1, 2, 3}), learners=frozenset({4}))
    )


def test_nobody_who_is_silent_is_offered_one() -> None:
    driven = leading_behind_a_cut()
    refuse(driven, 3, 4)
    driven.node.report_snapshot(3, ok=False)
    for _ in range(11):
        driven.node.tick()
        driven.step(MessageType.HEARTBEAT_RESPONSE, 2, 2)
    driven.sync()
    assert not driven.node.status().followers[3].recent_active
    assert len(driven.drain(MessageType.SNAPSHOT)) == 1
    driven.step(MessageType.HEARTBEAT_RESPONSE, 3, 2)
    driven.sync()
    assert len(driven.drain(MessageType.SNAPSHOT)) == 1, "a sign of life: again"


def test_after_a_snapshot_entries_follow() -> None:
    driven = leading_behind_a_cut()
    refuse(driven, 3, 4)
    driven.node.report_snapshot(3, ok=True)
    driven.sent.clear()
    assert follower(driven) is ProgressState.PROBE
    driven.step(MessageType.APPEND_RESPONSE, 3, 2, index=11)
    assert follower(driven) is ProgressState.REPLICATE
    driven.node.propose(b"x")
    driven.sync()
    (append,) = [m for m in driven.drain(MessageType.APPEND) if m.to == 3]
    assert append.index == 11
    assert [entry.index for entry in append.entries] == [12]


def test_a_snapshot_of_a_later_moment_than_offered_will_do() -> None:
    driven = leading_behind_a_cut()
    refuse(driven, 3, 4)
    driven.node.propose(b"x")
    driven.sync()
    driven.step(MessageType.APPEND_RESPONSE, 3, 2, index=12)
    assert follower(driven) is ProgressState.REPLICATE
    driven.node.report_snapshot(3, ok=True)
    assert follower(driven) is ProgressState.REPLICATE


def test_who_knows_no_cluster_refuses_the_log_and_is_offered_a_snapshot() -> None:
    joiner = Driven(configuration=Configuration())
    joiner.step(MessageType.APPEND, 2, 1, entries=(Entry(1, 1, EntryKind.EMPTY, b""),))
    joiner.sync()
    (refusal,) = joiner.drain(MessageType.APPEND_RESPONSE)
    assert refusal.reject
    assert refusal.index == 0
    assert joiner.node.last_index == 0

    driven = Driven()
    driven.lead()
    driven.step(MessageType.APPEND_RESPONSE, 2, 1, index=1)
    driven.sync()
    driven.sent.clear()
    driven.step(MessageType.APPEND_RESPONSE, 3, 1, reject=True, index=0)
    driven.sync()
    (offer,) = driven.drain(MessageType.SNAPSHOT)
    assert offer.snapshot == SnapshotMetadata(1, 1, THREE)


NINE = SnapshotMetadata(9, 2, Configuration(frozenset({1, 2}), learners=frozenset({3})))


def test_a_snapshot_replaces_log_and_membership_before_it_is_vouched_for() -> None:
    driven = Driven(terms=[1, 1])
    driven.step(MessageType.SNAPSHOT, 2, 3, snapshot=NINE)
    driven.take()
    assert driven.snapshot == NINE
    assert driven.work is not None
    assert driven.work.hard_state == HardState(3, 0, 9)
    assert driven.work.entries == ()
    assert driven.drain(MessageType.APPEND_RESPONSE) == []
    assert driven.node.applied_index == 0
    driven.sync()
    (answer,) = driven.drain(MessageType.APPEND_RESPONSE)
    assert (answer.to, answer.index, answer.reject) == (2, 9, False)
    assert driven.node.applied_index == 9
    assert driven.node.configuration == NINE.configuration
    assert (driven.log.first_index, driven.log.last_index, driven.log.term(9)) == (10, 9, 2)
    entry = Entry(3, 10, EntryKind.NORMAL, b"x")
    driven.step(MessageType.APPEND, 2, 3, index=9, log_term=2, entries=(entry,), commit=10)
    driven.sync()
    assert driven.applied == [10]


def test_a_snapshot_waits_for_the_sync_that_is_under_way() -> None:
    """The old log is not written any more once it is to be reset."""
    driven = Driven()
    entry = Entry(1, 1, EntryKind.NORMAL, b"x")
    driven.step(MessageType.APPEND, 2, 1, entries=(entry,))
    driven.take()
    assert driven.work is not None
    driven.step(MessageType.SNAPSHOT, 2, 1, snapshot=NINE)
    driven.take()
    assert driven.snapshot is None
    driven.log.append(driven.work.entries, driven.work.hard_state)
    driven.work = None
    driven.node.persisted()
    driven.take()
    assert driven.snapshot == NINE


def test_entries_that_arrive_meanwhile_are_kept_for_after_the_installation() -> None:
    driven = Driven()
    driven.step(MessageType.SNAPSHOT, 2, 2, snapshot=NINE)
    driven.take()
    entry = Entry(2, 10, EntryKind.NORMAL, b"x")
    driven.step(MessageType.APPEND, 2, 2, index=9, log_term=2, entries=(entry,), commit=10)
    driven.take()
    assert driven.applied == []
    driven.sync()
    assert driven.applied == [10]
    assert driven.log.last_index == 10


def test_what_is_written_with_a_snapshot_claims_no_more_than_it_brings() -> None:
    """A commit index above the log's end would keep the member from ever starting again."""
    driven = Driven()
    first = Entry(2, 1, EntryKind.NORMAL, b"x")
    driven.step(MessageType.APPEND, 2, 2, entries=(first,))
    driven.take()
    driven.step(MessageType.SNAPSHOT, 2, 2, snapshot=NINE)
    entry = Entry(2, 10, EntryKind.NORMAL, b"x")
    driven.step(MessageType.APPEND, 2, 2, index=9, log_term=2, entries=(entry,), commit=10)
    driven.node.persisted()
    driven.take()
    assert driven.snapshot == NINE
    assert driven.work is not None
    assert driven.work.hard_state == HardState(2, 0, 9)
    driven.sync()
    assert driven.log.hard_state() == HardState(2, 0, 10)
    assert driven.applied == [10]


def test_the_installation_vouches_for_no_entry_behind_the_snapshot() -> None:
    """It arrived before the installation began, and is written after it."""
    driven = Driven()
    driven.step(MessageType.SNAPSHOT, 2, 2, snapshot=NINE)
    entry = Entry(2, 10, EntryKind.NORMAL, b"x")
    driven.step(MessageType.APPEND, 2, 2, index=9, log_term=2, entries=(entry,))
    driven.take()
    assert driven.work is not None
    assert not driven.work.entries
    driven.log.reset(9, 2, driven.work.hard_state)
    assert all(answer.index <= 9 for answer in driven.node.persisted())
    driven.take()
    assert driven.work.entries == (entry,)
    (answer,) = driven.node.persisted()
    assert answer.index == 10


def test_a_snapshot_takes_back_what_vouched_for_the_log_before() -> None:
    driven = Driven()
    first = Entry(1, 1, EntryKind.NORMAL, b"x")
    driven.step(MessageType.APPEND, 2, 1, entries=(first,))
    driven.step(MessageType.SNAPSHOT, 3, 2, snapshot=NINE)
    driven.sync()
    answers = driven.drain(MessageType.APPEND_RESPONSE)
    assert [(one.to, one.index) for one in answers] == [(3, 9)]


def test_what_a_later_leader_replaced_unwritten_is_not_vouched_for() -> None:
    driven = Driven()
    old = tuple(Entry(1, index, EntryKind.NORMAL, b"x") for index in (1, 2, 3))
    driven.step(MessageType.APPEND, 2, 1, entries=old)
    new = Entry(2, 2, EntryKind.NORMAL, b"y")
    driven.step(MessageType.APPEND, 3, 2, index=1, log_term=1, entries=(new,))
    driven.sync()
    answers = driven.drain(MessageType.APPEND_RESPONSE)
    assert [(one.to, one.term, one.index) for one in answers] == [(3, 2, 2)]


def test_who_has_no_state_does_not_campaign() -> None:
    driven = Driven()
    driven.step(MessageType.SNAPSHOT, 2, 2, snapshot=NINE)
    driven.take()
    driven.node.campaign()
    assert driven.node.role is Role.FOLLOWER


def test_a_log_that_has_it_all_is_kept() -> None:
    driven = Driven(terms=[1] * 5)
    driven.step(MessageType.SNAPSHOT, 2, 1, snapshot=SnapshotMetadata(4, 1, THREE))
    driven.sync()
    assert driven.log.last_index == 5
    assert driven.applied == [1, 2, 3, 4]
    (answer,) = driven.drain(MessageType.APPEND_RESPONSE)
    assert answer.index == 4


def test_an_old_snapshot_undoes_nothing() -> None:
    driven = Driven(terms=[1] * 5)
    driven.step(MessageType.HEARTBEAT, 2, 1, commit=5)
    driven.step(MessageType.SNAPSHOT, 2, 1, snapshot=SnapshotMetadata(3, 1, Configuration()))
    driven.sync()
    assert driven.node.configuration == THREE
    assert driven.applied == [1, 2, 3, 4, 5]
    assert [m.index for m in driven.drain(MessageType.APPEND_RESPONSE)] == [5]


def test_a_snapshot_of_an_earlier_leader_is_as_good() -> None:
    """It took long to arrive; what it covers is committed whoever leads now."""
    driven = Driven(term=4)
    driven.step(MessageType.HEARTBEAT, 3, 4)
    driven.step(MessageType.SNAPSHOT, 2, 2, snapshot=NINE)
    driven.sync()
    assert driven.node.applied_index == 9
    assert driven.node.leader_id == 3
    (answer,) = driven.drain(MessageType.APPEND_RESPONSE)
    assert (answer.to, answer.term, answer.index) == (3, 4, 9)


def test_the_state_of_a_cluster_without_us_is_ignored() -> None:
    driven = Driven()
    stranger = SnapshotMetadata(9, 2, Configuration(frozenset({2, 3})))
    driven.step(MessageType.SNAPSHOT, 2, 2, snapshot=stranger)
    driven.sync()
    assert driven.node.last_index == 0


def test_a_crash_between_state_and_log_is_noticed_at_the_start() -> None:
    log = MemoryLog()
    log.append([Entry(1, i, EntryKind.NORMAL, b"") for i in range(1, 6)], HardState(3, 2, 5))
    assert not must_reset(log, 5, 1)
    assert must_reset(log, 9, 2)
    assert must_reset(log, 4, 2), "another entry stands where the snapshot ends"
    log.reset(9, 2)
    assert not must_reset(log, 9, 2)
    node = RaftNode(
        RaftConfig(id=1), NINE.configuration, log, log.hard_state(), 9, random.Random(1)
    )
    assert (node.term, node.last_index, node.commit_index) == (3, 9, 9)
    assert node.configuration == NINE.configuration


def test_a_damaged_entry_is_neither_taken_nor_applied() -> None:
    good = Entry(1, 1, EntryKind.NORMAL, b"good")
    bad = Entry(1, 1, EntryKind.NORMAL, b"evil", good.checksum)
    driven = Driven()
    driven.step(MessageType.APPEND, 2, 1, entries=(bad,), commit=1)
    driven.sync()
    assert driven.node.last_index == 0
    assert driven.node.status().damaged_appends == 1

    log = MemoryLog()
    log.append([bad], HardState(1, 0, 1))
    node = RaftNode(RaftConfig(id=1), THREE, log, log.hard_state(), 0, random.Random(1))
    with pytest.raises(CorruptEntry, match="entry 1"):
        node.ready()


def test_an_entry_moved_to_another_place_is_noticed() -> None:
    """The checksum is of index, term and kind too."""
    good = Entry(1, 1, EntryKind.NORMAL, b"data")
    for moved in (
        Entry(2, 1, EntryKind.NORMAL, b"data", good.checksum),
        Entry(1, 2, EntryKind.NORMAL, b"data", good.checksum),
        Entry(1, 1, EntryKind.CONF_CHANGE, b"data", good.checksum),
    ):
        assert not moved.is_intact()
