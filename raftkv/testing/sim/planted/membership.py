"""Bugs in changes of membership, and in how a snapshot brings somebody up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from raftkv.raft import reconfiguration
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ConfigurationChange, apply_change
from raftkv.raft.messages import EntryKind
from raftkv.raft.quorum import VoteResult, majority_committed, majority_vote
from raftkv.raft.state import RaftState
from raftkv.server import applier as applier_module
from raftkv.server import member as member_module
from raftkv.server.cluster_state import ClusterState
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.membership import CONFIGURATION_KEY, Membership
from raftkv.testing.sim import machine as machine_module
from raftkv.testing.sim.machine import Machine
from raftkv.testing.sim.planted.patch import Patch


def removed_voter_still_counts(patch: Patch) -> None:
    """A voter that is removed goes on counting towards the quorum."""

    def apply(configuration: Configuration, change: ConfigurationChange) -> Configuration:
        after: Configuration = honest(configuration, change)
        return (
            after if after.is_joint else replace(after, voters=after.voters | configuration.voters)
        )

    honest = patch.set(reconfiguration, "apply_change", apply)


def joint_by_the_new_half(patch: Patch) -> None:
    """In a joint configuration the outgoing voters are not asked."""

    def committed(self: Configuration, match_index: Callable[[int], int]) -> int:
        return majority_committed(self.voters, match_index)

    def vote_result(self: Configuration, votes: Mapping[int, bool]) -> VoteResult:
        return majority_vote(self.voters, votes)

    patch.set(Configuration, "committed", committed)
    patch.set(Configuration, "vote_result", vote_result)


def learners_count(patch: Patch) -> None:
    """What learners hold counts towards a majority of the voters."""

    def committed(self: Configuration, match_index: Callable[[int], int]) -> int:
        held = sorted((match_index(one) for one in self.members), reverse=True)
        return held[len(self.voters) // 2]

    patch.set(Configuration, "committed", committed)


def change_in_force_when_proposed(patch: Patch) -> None:
    """The leader goes by a change at once, and goes on doing so when the entry is lost."""

    def propose(state: RaftState, change: ConfigurationChange) -> int:
        index = int(honest(state, change))
        reconfiguration.adopt(state, apply_change(state.configuration, change))
        return index

    honest = patch.set(reconfiguration, "propose", propose)


def configuration_not_stored(patch: Patch) -> None:
    """A change is applied in memory; a restart goes by the members from before."""

    def apply(self: Membership, *arguments: Any) -> dict[bytes, bytes | None]:
        rows: dict[bytes, bytes | None] = honest(self, *arguments)
        rows.pop(CONFIGURATION_KEY, None)
        return rows

    honest = patch.set(Membership, "apply", apply)


def joiner_believes_its_flags(patch: Patch) -> None:
    """A new member begins with the members that it was told of, instead of none."""

    def join(self: Machine, found: Membership) -> None:
        honest(self, found)
        self.is_founder = True

    honest = patch.set(Machine, "join", join)


def removed_and_never_told(patch: Patch) -> None:
    """Nobody tells a removed member, which misses its own removal, that it is one."""
    patch.set(Membership, "was_removed", lambda self, member_id: False)


def removed_and_gone_at_once(patch: Patch) -> None:
    """A member that knows of its own removal ends before the others can know that it is valid."""
    patch.set(member_module, "REMOVAL_WAIT_S", 0.5)
    patch.set(applier_module, "REMOVAL_WAIT_S", 0.5)


def newer_members_are_strangers(patch: Patch) -> None:
    """A member lets in only those that it knows: who was away never hears of a new leader."""
    patch.set(ClusterState, "admit", lambda self, peer_id, url: None)


def log_cut_behind_a_snapshot(patch: Patch) -> None:
    """What follows a snapshot is dropped while the snapshot is on its way."""
    patch.set(LogTrimmer, "hold", lambda self, member_id, index: None)
    patch.set(LogTrimmer, "advance", lambda self, member_id, index: None)


def vouch_for_what_is_behind_a_snapshot(patch: Patch) -> None:
    """With a snapshot's installation, answers leave for entries behind it."""
    patch.set(RaftState, "take_answers_above", lambda self, index: [])


def log_not_reset_after_a_crash(patch: Patch) -> None:
    """A crash between a snapshot's installation and the log's reset leaves both as they are."""
    patch.set(machine_module, "must_reset", lambda log, index, term: False)


def changes_skipped_in_replay(patch: Patch) -> None:
    """A member that starts again does not apply the changes that its log still holds."""

    def apply_configuration(self: Any, entry: Any) -> Configuration:
        assert entry.kind is EntryKind.CONF_CHANGE
        state = self._state
        if entry.index <= self._log_at_start:
            before: Configuration = state.configuration
            return before
        after: Configuration = honest(self, entry)
        return after

    def init(self: Any, *arguments: Any) -> None:
        honest_init(self, *arguments)
        self._log_at_start = self._state.log.last_index

    from raftkv.raft.node import RaftNode

    honest = patch.set(RaftNode, "apply_configuration", apply_configuration)
    honest_init = patch.set(RaftNode, "__init__", init)
