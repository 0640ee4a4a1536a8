"""Members that come and go under faults, and a check that the checkers notice what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from raftkv.raft import configuration_change, reconfiguration, replication, snapshots
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ConfigurationChange
from raftkv.raft.errors import RaftError
from raftkv.raft.log import RaftLog
from raftkv.raft.messages import Entry, Message, SnapshotMetadata
from raftkv.raft.node import RaftNode
from raftkv.raft.progress import Progress, ProgressState
from raftkv.raft.quorum import VoteResult
from raftkv.raft.state import RaftState
from raftkv.testing import cluster as cluster_module
from raftkv.testing.cluster import Member, SimulatedCluster
from raftkv.testing.cluster_faults import CHANGING, CHANGING_HARSHLY, FORGETFUL, QUIET, Faults

RECOVERY_MS_MAX = 20_000
"""When faults stop, everyone is level and takes a proposal within so much simulated time."""


def check(seed: int, members: int, faults: Faults, run_ms: int = 15_000) -> SimulatedCluster:
    """Run a seed through faults, then require progress and equal states."""
    cluster = SimulatedCluster(seed, members, faults)
    cluster.run_for(run_ms)
    cluster.calm()
    before = len(cluster.checker.committed)
    progress = cluster.run_until(lambda: len(cluster.checker.committed) > before, RECOVERY_MS_MAX)
    assert progress, f"seed {seed}: nothing was committed after the faults stopped"
    cluster.faults = QUIET
    assert cluster.run_until(cluster.is_level, RECOVERY_MS_MAX), f"seed {seed}: never level"
    states = cluster.states()
    assert all(state == states[0] for state in states)
    return cluster


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("members", "faults"),
    [(3, CHANGING), (3, FORGETFUL), (4, CHANGING_HARSHLY)],
    ids=["changing", "forgetful", "harsh"],
)
def test_changing_members_keep_every_promise(seed: int, members: int, faults: Faults) -> None:
    check(seed, members, faults)


@pytest.mark.parametrize(("seed", "members", "faults"), [(5, 3, FORGETFUL), (2049, 5, CHANGING)])
def test_seeds_that_once_had_nobody_to_lead(seed: int, members: int, faults: Faults) -> None:
    """Voters that did not know their majority yet; they show so only while the worlds stay so."""
    check(seed, members, faults, run_ms=20_000)


def test_the_faults_leave_room_for_what_is_tested() -> None:
    cluster = check(11, 3, FORGETFUL, run_ms=30_000)
    assert cluster.snapshots_installed >= 3
    assert cluster.changes_applied >= 20
    assert len(cluster.checker.committed) > 100


def test_one_seed_is_one_run() -> None:
    def trace(seed: int) -> str:
        cluster = SimulatedCluster(seed, 3, FORGETFUL)
        cluster.run_for(8_000)
        return cluster.trace_hash()

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


# --- planted bugs ----------------------------------------------------------------------------


def snapshot_without_membership(patch: pytest.MonkeyPatch) -> None:
    """The receiver goes on with the members that it knew."""
    honest = snapshots._restore

    def restore(state: RaftState, metadata: SnapshotMetadata) -> None:
        known = state.configuration
        honest(state, metadata)
        state.configuration = known

    patch.setattr(snapshots, "_restore", restore)


def snapshot_state_and_membership_of_two_moments(patch: pytest.MonkeyPatch) -> None:
    """The membership that is stored with a flush is not that of the flushed entry."""

    def flush(self: Member) -> None:
        self.flushed_configuration = self.configuration
        self.flushed = max(self.flushed, len(self.applied) - 5)

    patch.setattr(Member, "flush", flush)


def snapshot_over_newer_entries(patch: pytest.MonkeyPatch) -> None:
    """An old snapshot that arrives late replaces what was committed since."""

    def take(state: RaftState, message: Message) -> None:
        assert message.snapshot is not None
        state.log.commit_index = min(state.log.commit_index, message.snapshot.index - 1)
        snapshots._restore(state, message.snapshot)
        state.acknowledge(message.sender, message.snapshot.index)

    patch.setattr(snapshots, "_take", take)


def snapshot_believed_without_matching(patch: pytest.MonkeyPatch) -> None:
    """Any entry at the snapshot's index is taken for the one that it ends with."""
    honest = snapshots._take

    def take(state: RaftState, message: Message) -> None:
        metadata = message.snapshot
        assert metadata is not None
        if state.log.commit_index < metadata.index <= state.log.last_index:
            state.commit_to(metadata.index)
        honest(state, message)

    patch.setattr(snapshots, "_take", take)


def snapshot_counted_when_sent(patch: pytest.MonkeyPatch) -> None:
    """The end of a transfer is taken for the follower's word that it holds the state and more."""

    def report(state: RaftState, member: int, *, ok: bool) -> None:
        progress = state.peers.get(member)
        if progress is not None and progress.state is ProgressState.SNAPSHOT:
            progress.match_index = state.log.last_index
            progress.become_replicate()

    patch.setattr(snapshots, "report", report)


def applied_again_after_a_snapshot(patch: pytest.MonkeyPatch) -> None:
    """Entries that the snapshot covers are handed out once more."""
    honest = RaftLog.restore

    def restore(self: RaftLog, index: int, term: int) -> None:
        before = self.handed_out_index
        honest(self, index, term)
        self.handed_out_index = max(before, index - 1)

    patch.setattr(RaftLog, "restore", restore)


def log_not_reset_after_a_crash(patch: pytest.MonkeyPatch) -> None:
    """A member starts on the log that its snapshot was to replace."""
    patch.setattr(cluster_module, "must_reset", lambda *_: False)


def damaged_entries_taken(patch: pytest.MonkeyPatch) -> None:
    """Checksums are not looked at."""
    patch.setattr(Entry, "is_intact", lambda self: True)


def change_applied_where_it_does_not_fit(patch: pytest.MonkeyPatch) -> None:
    """Several voters change in one step, so neighbouring quorums need not overlap."""

    def apply(configuration: Configuration, change: ConfigurationChange) -> Configuration:
        if change.leaves_joint:
            return configuration
        return configuration_change._change_members(configuration, change.changes)

    patch.setattr(reconfiguration, "apply_change", apply)


def learners_counted(patch: pytest.MonkeyPatch) -> None:
    """What learners hold counts like what voters hold."""

    def committed(self: Configuration, match_index: Callable[[int], int]) -> int:
        held = sorted(map(match_index, self.members), reverse=True)
        return held[len(self.voters) // 2]

    patch.setattr(Configuration, "committed", committed)


def learners_campaign(patch: pytest.MonkeyPatch) -> None:
    """A learner that hears nothing makes itself a leader, by the voters it asks and itself."""

    def vote_result(self: Configuration, votes: Mapping[int, bool]) -> VoteResult:
        granted = sum(votes.values())
        return VoteResult.WON if granted > len(self.voters) // 2 else VoteResult.PENDING

    patch.setattr(RaftState, "is_promotable", lambda self: True)
    patch.setattr(Configuration, "vote_result", vote_result)


def change_in_force_before_it_is_committed(patch: pytest.MonkeyPatch) -> None:
    """A leader goes by a change that nobody else has."""
    honest = reconfiguration.propose

    def propose(state: RaftState, change: ConfigurationChange) -> int:
        index = honest(state, change)
        changed = configuration_change.apply_change(state.configuration, change)
        reconfiguration.adopt(state, changed)
        return index

    patch.setattr(reconfiguration, "propose", propose)


def membership_forgotten_at_restart(patch: pytest.MonkeyPatch) -> None:
    """A restarted member goes by the members that the cluster began with."""
    honest = RaftNode.__init__

    def init(self: RaftNode, *args: object) -> None:
        config, _, *rest = args
        first = Configuration(frozenset({1, 2, 3}))
        honest(self, config, first, *rest)  # type: ignore[arg-type]

    patch.setattr(RaftNode, "__init__", init)


def joiners_read_a_log_without_its_membership(patch: pytest.MonkeyPatch) -> None:
    """Who knows no cluster takes the log from its beginning, as if nobody had been there."""
    honest = replication.handle_append

    def handle(state: RaftState, message: Message) -> None:
        known = state.configuration
        if not known.voters:
            state.configuration = Configuration(frozenset({state.id}))
        honest(state, message)
        if message.index == 0 and state.log.last_index == 0:
            state.configuration = known

    patch.setattr(replication, "handle_append", handle)


def window_ignored(patch: pytest.MonkeyPatch) -> None:
    """Refused entries after a snapshot are taken for received: the follower's log gets a hole."""
    honest = Progress.become_snapshot

    def become_snapshot(self: Progress, index: int) -> None:
        honest(self, index)
        self.match_index = max(self.match_index, index)
        self.next_index = self.match_index + 1

    patch.setattr(Progress, "become_snapshot", become_snapshot)


CALMER = replace(FORGETFUL, reconfigure_every_ms=1500)
CRASHING = replace(FORGETFUL, crash_every_ms=600, down_ms_max=600, install_ms_max=800)
PLANTED: dict[Callable[[pytest.MonkeyPatch], None], Faults] = {
    snapshot_without_membership: FORGETFUL,
    snapshot_state_and_membership_of_two_moments: CHANGING_HARSHLY,
    snapshot_over_newer_entries: FORGETFUL,
    snapshot_believed_without_matching: FORGETFUL,
    snapshot_counted_when_sent: FORGETFUL,
    applied_again_after_a_snapshot: FORGETFUL,
    log_not_reset_after_a_crash: CRASHING,
    damaged_entries_taken: CHANGING,
    change_applied_where_it_does_not_fit: FORGETFUL,
    learners_counted: FORGETFUL,
    learners_campaign: CHANGING_HARSHLY,
    change_in_force_before_it_is_committed: CHANGING_HARSHLY,
    membership_forgotten_at_restart: CHANGING_HARSHLY,
    joiners_read_a_log_without_its_membership: CALMER,
    window_ignored: FORGETFUL,
}
"""Each bug, with the world in which it shows soonest."""

SEEDS_MAX = 80
"""Seeds within which each planted bug must show."""


@pytest.mark.plain_core
@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_the_checkers_catch(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checker that cannot fail proves nothing: each planted bug breaks some promise."""
    plant(monkeypatch)
    for seed in range(SEEDS_MAX):
        try:
            check(seed, 3, PLANTED[plant])
        except (AssertionError, ValueError, RaftError):
            # ValueError, RaftError: a member cannot go on with what it finds.
            return
    pytest.fail(f"{plant.__name__} went unnoticed through {SEEDS_MAX} seeds")
