"""Membership arithmetic against published cases, and what is written of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import (
    ChangeAction,
    ConfigurationChange,
    MemberChange,
    Transition,
    apply_change,
    change_simply,
    enter_joint,
    leave_joint,
)
from raftkv.raft.errors import InvalidConfigurationChange
from raftkv.raft.messages import HardState
from raftkv.raft.state import RaftState
from raftkv.testing.memory_log import MemoryLog

CASES = Path(__file__).resolve().parents[3].parent / "shared" / "raft-testdata" / "confchange"
ACTIONS = {
    "v": ChangeAction.ADD_VOTER,
    "l": ChangeAction.ADD_LEARNER,
    "r": ChangeAction.REMOVE,
    "u": ChangeAction.UPDATE,
}
COUNTS = {
    "joint_autoleave.txt": 4,
    "joint_idempotency.txt": 3,
    "joint_learners_next.txt": 3,
    "joint_safety.txt": 15,
    "simple_idempotency.txt": 11,
    "simple_promote_demote.txt": 7,
    "simple_safety.txt": 11,
    "update.txt": 3,
    "zero.txt": 1,
}
"""File -> how many commands it has."""


def cases(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield command, input and expected output of each block of a file."""
    text = "\n".join(
        line for line in (CASES / name).read_text().splitlines() if not line.startswith("#")
    )
    for block in text.split("\n\n"):
        if "----" in block:
            given, output = block.strip().split("----")
            command, _, changes = given.strip().partition("\n")
            yield command, changes, output.strip()


class Cluster:
    """A leader's view of the members, changed command by command."""

    def __init__(self) -> None:
        self.state = RaftState(
            RaftConfig(id=99), Configuration(), MemoryLog(), HardState(), 0, random.Random(1)
        )
        self.commands = 0

    def run(self, command: str, words: Sequence[str]) -> str:
        """Do one command and say what it comes to, in the words of the files."""
        changes = [MemberChange(ACTIONS[word[0]], int(word[1:])) for word in words]
        # What the files call the last index grows by one a command; new members begin there.
        self.state.log.last_index = max(self.commands, 1) - 1
        self.commands += 1
        try:
            self.state.configuration = self._change(command, changes)
        except InvalidConfigurationChange as error:
            return error.reason
        self.state.reconcile_peers()
        return "\n".join([describe(self.state.configuration), *self._members()])

    def _change(self, command: str, changes: list[MemberChange]) -> Configuration:
        present = self.state.configuration
        if command == "simple":
            return change_simply(present, changes)
        if command == "leave-joint":
            return leave_joint(present)
        return enter_joint(present, changes, auto_leave="autoleave=true" in command)

    def _members(self) -> list[str]:
        return [
            f"{member}: State{progress.state.name.title()} match={progress.match_index}"
            f" next={progress.next_index}"
            + (" learner" if member in self.state.configuration.learners else "")
            for member, progress in sorted(self.state.peers.items())
        ]


def describe(configuration: Configuration) -> str:
    def ids(members: frozenset[int]) -> str:
        return f"({' '.join(map(str, sorted(members)))})"

    text = f"voters={ids(configuration.voters)}"
    if configuration.voters_outgoing:
        text += f"&&{ids(configuration.voters_outgoing)}"
    if configuration.learners:
        text += f" learners={ids(configuration.learners)}"
    if configuration.learners_next:
        text += f" learners_next={ids(configuration.learners_next)}"
    return text + (" autoleave" if configuration.auto_leave else "")


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/raft-testdata beside the checkout")
@pytest.mark.parametrize("name", COUNTS)
def test_agrees_with_every_published_case(name: str) -> None:
    cluster = Cluster()
    found = list(cases(name))
    assert len(found) == COUNTS[name]
    for command, changes, expected in found:
        assert cluster.run(command, changes.split()) == expected, (command, changes)


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/raft-testdata beside the checkout")
def test_every_published_file_is_read() -> None:
    assert {file.name for file in CASES.iterdir()} == COUNTS.keys()


def test_a_change_is_simple_where_it_can_be() -> None:
    three = Configuration(frozenset({1, 2, 3}))
    assert apply_change(three, ConfigurationChange.add_voter(4)).voters == {1, 2, 3, 4}
    swap = (
        MemberChange(ChangeAction.REMOVE, 1),
        MemberChange(ChangeAction.ADD_VOTER, 4),
    )
    joint = apply_change(three, ConfigurationChange(swap))
    assert joint == Configuration(frozenset({2, 3, 4}), frozenset({1, 2, 3}), auto_leave=True)
    assert apply_change(joint, ConfigurationChange.leave_joint()) == Configuration(
        frozenset({2, 3, 4})
    )
    explicit = ConfigurationChange(swap[:1], Transition.JOINT_EXPLICIT)
    assert not apply_change(three, explicit).auto_leave


def test_only_a_learner_is_promoted() -> None:
    present = Configuration(frozenset({1}), learners=frozenset({2}))
    assert apply_change(present, ConfigurationChange.promote(2)).voters == {1, 2}
    for stranger in (1, 3):
        with pytest.raises(InvalidConfigurationChange, match="is not a learner"):
            apply_change(present, ConfigurationChange.promote(stranger))


IDS = st.integers(0, (1 << 64) - 1)
CHANGES = st.builds(MemberChange, st.sampled_from(ChangeAction), st.integers(0, 6))
SETS = st.frozensets(IDS, max_size=5)


@given(st.builds(Configuration, SETS, SETS, SETS, SETS, st.booleans()))
def test_configurations_come_out_as_they_went_in(configuration: Configuration) -> None:
    assert Configuration.decode(configuration.encode()) == configuration


@given(
    st.builds(
        ConfigurationChange,
        st.lists(st.builds(MemberChange, st.sampled_from(ChangeAction), IDS)).map(tuple),
        st.sampled_from(Transition),
        st.binary(max_size=20),
    )
)
def test_changes_come_out_as_they_went_in(change: ConfigurationChange) -> None:
    assert ConfigurationChange.decode(change.encode()) == change


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_or_read_never_worse(data: bytes) -> None:
    for kind in (Configuration, ConfigurationChange):
        try:
            kind.decode(data)
        except ValueError:
            continue


@given(st.lists(st.tuples(st.lists(CHANGES, max_size=4), st.sampled_from(Transition))))
def test_invariants_hold_through_any_changes(
    steps: list[tuple[list[MemberChange], Transition]],
) -> None:
    """Nobody is two things at once, quorums of neighbours overlap, and joints can be left."""
    present = Configuration(frozenset({1}))
    for changes, transition in steps:
        try:
            changed = apply_change(present, ConfigurationChange(tuple(changes), transition))
        except InvalidConfigurationChange:
            continue
        assert changed.voters
        assert not changed.learners & changed.all_voters
        assert changed.learners_next <= changed.voters_outgoing
        assert changed.is_joint or not (changed.learners_next or changed.auto_leave)
        if changed.is_joint and not present.is_joint:
            assert changed.voters_outgoing == present.voters
        elif not changed.is_joint and not present.is_joint:
            assert len(changed.voters ^ present.voters) <= 1
        present = changed
