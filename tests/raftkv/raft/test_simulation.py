"""The core under a hostile network and disk, and a check that the checkers can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftkv.raft import election, replication
from raftkv.raft.configuration import Configuration
from raftkv.raft.log import RaftLog
from raftkv.raft.messages import HardState, Message, MessageType
from raftkv.raft.progress import Progress
from raftkv.raft.read_index import Reader, ReadQueue
from raftkv.raft.ready import PersistWork
from raftkv.raft.state import RaftState
from raftkv.testing.cluster import SimulatedCluster
from raftkv.testing.cluster_faults import COLLIDING, HARSH, QUIET, Faults
from raftkv.testing.safety import SafetyViolation

RECOVERY_MS_MAX = 20_000
"""When faults stop, everyone is level and takes a proposal within so much simulated time."""


def check(seed: int, members: int = 3, run_ms: int = 20_000, faults: Faults | None = None) -> None:
    """Run a seed through faults, then require progress."""
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


@pytest.mark.parametrize("seed", range(8))
def test_three_members_keep_every_promise(seed: int) -> None:
    """The five safety properties and linearizable reads, then liveness (Raft Figure 3)."""
    check(seed)


@pytest.mark.parametrize("seed", range(100, 102))
def test_five_members_keep_every_promise(seed: int) -> None:
    check(seed, members=5, run_ms=12_000)


def test_a_single_member_needs_nobody() -> None:
    check(1, members=1, faults=Faults(partition_every_ms=0))


def test_progress_is_real() -> None:
    """The faults leave room for work: entries commit, reads are answered, terms pass."""
    cluster = SimulatedCluster(7)
    cluster.run_for(30_000)
    assert len(cluster.checker.committed) > 100
    assert cluster.reads_done > 25
    assert len(cluster.checker.leaders) > 2


def test_one_seed_is_one_run() -> None:
    def trace(seed: int) -> str:
        cluster = SimulatedCluster(seed)
        cluster.run_for(10_000)
        return cluster.trace_hash()

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


# --- planted bugs ----------------------------------------------------------------------------


def forget_vote(patch: pytest.MonkeyPatch) -> None:
    """The vote is not written down."""
    honest = SimulatedCluster._begin_sync

    def begin_sync(
        self: SimulatedCluster, member: object, work: PersistWork, snapshot: object
    ) -> None:
        hard_state = work.hard_state
        if hard_state is not None:
            hard_state = HardState(hard_state.term, 0, hard_state.commit)
        work = PersistWork(hard_state, work.entries)
        honest(self, member, work, snapshot)  # type: ignore[arg-type]

    patch.setattr(SimulatedCluster, "_begin_sync", begin_sync)


def vote_for_anyone(patch: pytest.MonkeyPatch) -> None:
    """A vote goes to a candidate whose log is behind."""
    patch.setattr(RaftLog, "is_up_to_date", lambda self, index, term: True)


def vote_twice(patch: pytest.MonkeyPatch) -> None:
    """A second candidate of the same term gets a vote too."""
    honest = election.handle_vote_request

    def handle(state: RaftState, message: Message) -> None:
        state.vote = 0
        honest(state, message)

    patch.setattr(election, "handle_vote_request", handle)


def acknowledge_before_sync(patch: pytest.MonkeyPatch) -> None:
    """Followers vouch for entries that a crash still loses."""

    def acknowledge(self: RaftState, leader: int, index: int) -> None:
        self.outbox.append(
            Message(MessageType.APPEND_RESPONSE, leader, self.id, self.term, index=index)
        )

    patch.setattr(RaftState, "acknowledge", acknowledge)


def count_oneself_before_sync(patch: pytest.MonkeyPatch) -> None:
    """The leader counts entries that it has not synced itself."""

    def match_index(self: RaftState, member: int) -> int:
        return self.log.last_index if member == self.id else self.peers[member].match_index

    patch.setattr(RaftState, "match_index", match_index)


def commit_with_a_minority(patch: pytest.MonkeyPatch) -> None:
    """One copy too few is taken for a quorum."""

    def committed(self: Configuration, match_index: Callable[[int], int]) -> int:
        return sorted(map(match_index, self.voters))[len(self.voters) // 2 + 1]

    patch.setattr(Configuration, "committed", committed)


def read_without_asking(patch: pytest.MonkeyPatch) -> None:
    """A leader answers reads without making sure that it still leads."""

    def confirmed(self: ReadQueue, configuration: Configuration, self_id: int) -> int:
        return self.round

    patch.setattr(ReadQueue, "_confirmed_round", confirmed)


def read_before_own_commit(patch: pytest.MonkeyPatch) -> None:
    """A new leader answers reads at a commit index that may be old."""
    patch.setattr(replication, "has_committed_in_term", lambda state: True)


def accept_without_matching(patch: pytest.MonkeyPatch) -> None:
    """A follower takes entries without comparing the one before them."""
    honest = RaftLog.matches

    def matches(self: RaftLog, index: int, term: int) -> bool:
        return index <= self.last_index or honest(self, index, term)

    patch.setattr(RaftLog, "matches", matches)


def vouch_for_replaced_entries(patch: pytest.MonkeyPatch) -> None:
    """The end of a sync marks entries as synced that took the place of those written."""

    def mark_stable(self: RaftLog) -> None:
        self.stable_index = self.last_index
        self._evict()

    patch.setattr(RaftLog, "mark_stable", mark_stable)


def believe_own_optimism(patch: pytest.MonkeyPatch) -> None:
    """What was sent is taken for what was received."""
    honest = Progress.sent

    def sent(self: Progress, last_index: int, size_bytes: int, commit: int) -> None:
        honest(self, last_index, size_bytes, commit)
        self.match_index = max(self.match_index, last_index)
        self.next_index = max(self.next_index, self.match_index + 1)

    patch.setattr(Progress, "sent", sent)


def answer_reads_of_nobody(patch: pytest.MonkeyPatch) -> None:
    """A read joins a round whose heartbeats left before it arrived."""

    def add(self: ReadQueue, reader: Reader) -> None:
        if self._rounds:
            self._rounds[-1][2].append(reader)
        else:
            self._gathered.append(reader)
        self._waiting += 1

    patch.setattr(ReadQueue, "add", add)


PLANTED = [
    forget_vote,
    vote_for_anyone,
    vote_twice,
    acknowledge_before_sync,
    count_oneself_before_sync,
    commit_with_a_minority,
    read_without_asking,
    read_before_own_commit,
    accept_without_matching,
    vouch_for_replaced_entries,
    believe_own_optimism,
    answer_reads_of_nobody,
]
WORLDS: dict[Callable[[pytest.MonkeyPatch], None], Faults] = {
    forget_vote: COLLIDING,
    read_without_asking: Faults(
        check_quorum=False,
        crash_every_ms=0,
        partition_every_ms=4000,
        partition_ms_max=8000,
        read_every_ms=30,
        propose_every_ms=100,
        delay_ms_max=50,
    ),
}
"""The world in which a bug shows soonest, where that is not HARSH."""
SEEDS_MAX = 40
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
            SimulatedCluster(seed, 3, WORLDS.get(plant, HARSH)).run_for(30_000)
        except (SafetyViolation, AssertionError, ValueError):
            # ValueError: a member refuses to start on a log that lacks what it has applied.
            return
    pytest.fail(f"{plant.__name__} went unnoticed through {SEEDS_MAX} seeds")
