"""The state of one member and the changes of role; the rules are in the files beside it."""

from __future__ import annotations

from collections import deque

from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.log import RaftLog
from raftkv.raft.log_reader import LogReader, RandomSource
from raftkv.raft.messages import (
    APPEND_RESPONSE,
    Entry,
    EntryKind,
    HardState,
    Message,
    SnapshotMetadata,
)
from raftkv.raft.progress import Progress
from raftkv.raft.read_index import ReadQueue
from raftkv.raft.ready import ReadState
from raftkv.raft.roles import FOLLOWER, LEADER, TRANSITIONS, Role


class RaftState:
    """Everything a member knows. Written by the rules of one `RaftNode`, by nobody else."""

    __slots__ = (
        "after_persist",
        "appended_bytes",
        "applied_index",
        "campaign_when_applied",
        "catch_up_bytes",
        "config",
        "configuration",
        "configuration_index",
        "damaged_appends",
        "election_elapsed",
        "heartbeat_elapsed",
        "hold_commit",
        "id",
        "leader_id",
        "log",
        "outbox",
        "peers",
        "pending_change_index",
        "pending_snapshot",
        "random",
        "randomized_timeout",
        "read_states",
        "reads",
        "role",
        "term",
        "transferee",
        "uncommitted",
        "uncommitted_bytes",
        "vote",
        "votes",
    )

    def __init__(
        self,
        config: RaftConfig,
        configuration: Configuration,
        reader: LogReader,
        hard_state: HardState,
        applied_index: int,
        random: RandomSource,
    ) -> None:
        self.config = config
        self.id = config.id
        self.random = random
        self.configuration = configuration
        self.configuration_index = applied_index
        """The configuration holds all changes up to here; a snapshot waits until all else does."""
        self.applied_index = applied_index
        """What the state machine has applied."""
        self.pending_snapshot: SnapshotMetadata | None = None
        """A snapshot that the caller has not installed yet; the log stands behind it already."""
        self.log = RaftLog(
            reader,
            commit_index=hard_state.commit,
            applied_index=applied_index,
            cache_bytes_max=config.cache_bytes_max,
        )
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.role = FOLLOWER
        self.leader_id = 0
        self.damaged_appends = 0
        """APPENDs ignored because an entry did not match its checksum."""
        self.votes: dict[int, bool] = {}
        self.peers: dict[int, Progress] = {}
        """Progress of everyone else; filled while leading."""
        self.pending_change_index = 0
        """As the leader: no change of membership is in the log above this index."""
        self.campaign_when_applied = False
        """The leadership was handed to us while a committed change of membership awaited us."""
        self.transferee = 0
        """Who shall lead next; proposals are refused meanwhile. 0: nobody."""
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.randomized_timeout = 0
        self.hold_commit = False
        """As the leader: a commit index waits for an entry or heartbeat that carries it along."""
        self.outbox: list[Message] = []
        """Messages that may leave at once."""
        self.after_persist: list[Message] = []
        """Messages that vouch for unsynced state; one to ourselves is our own vote."""
        self.reads = ReadQueue(config.reads_waiting_max)
        self.read_states: list[ReadState] = []
        self.uncommitted: deque[tuple[int, int]] = deque()
        """Index and bytes of own entries that are not committed."""
        self.uncommitted_bytes = 0
        self.appended_bytes = 0
        """As the leader: what was appended since the last tick."""
        self.catch_up_bytes = config.catch_up_bytes_per_tick
        """As the leader: what may be read from disk and sent until the next tick; below 0: owed."""
        self._reset(self.term)

    def match_index(self, member: int) -> int:
        """Return what a member holds durably, as the leader knows; ourselves: what is synced."""
        return self.log.stable_index if member == self.id else self.peers[member].match_index

    def is_promotable(self) -> bool:
        """Say whether this member may lead: a voter, whose state is all there."""
        return self.id in self.configuration.all_voters and self.pending_snapshot is None

    def in_lease(self) -> bool:
        """Say whether a leader was heard so recently that nobody else should be elected.

        Raft dissertation §4.2.3.
        """
        return (
            self.config.check_quorum
            and self.leader_id != 0
            and self.election_elapsed < self.config.election_timeout_ticks
        )

    def _reset(self, term: int) -> None:
        """Begin anew in `term`; the vote is kept only while the term is."""
        if term != self.term:
            self.term = term
            self.vote = 0
        self.leader_id = 0
        self.votes = {}
        self.peers = {}
        self.pending_change_index = 0
        self.campaign_when_applied = False
        self.transferee = 0
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        timeout = self.config.election_timeout_ticks
        self.randomized_timeout = timeout + self.random.randrange(timeout)
        self.reads = ReadQueue(self.config.reads_waiting_max)
        self.uncommitted.clear()
        self.uncommitted_bytes = 0

    def _enter(self, role: Role) -> None:
        assert role in TRANSITIONS[self.role], f"{self.role.name} may not become {role.name}"
        self.role = role

    def become_follower(self, term: int, leader_id: int) -> None:
        """Follow `leader_id` (0: nobody yet) in `term`, which is never lower than ours."""
        assert term >= self.term
        self._enter(FOLLOWER)
        self._reset(term)
        self.leader_id = leader_id

    def become_pre_candidate(self) -> None:
        """Ask for votes without a new term (Raft dissertation §9.6)."""
        self._enter(Role.PRE_CANDIDATE)
        self._reset(self.term)
        self.votes = {self.id: True}

    def become_candidate(self) -> None:
        """Begin a term and vote for ourselves; the vote counts when it is synced (Raft §5.2)."""
        self._enter(Role.CANDIDATE)
        self._reset(self.term + 1)
        self.vote = self.id

    def become_leader(self) -> None:
        """Lead: ask every follower where it stands, and begin the term with an empty entry.

        Entries of earlier terms commit only through that entry (Raft §5.4.2, §8).
        """
        self._enter(LEADER)
        self._reset(self.term)
        self.leader_id = self.id
        for member in sorted(self.configuration.members - {self.id}):
            self.peers[member] = self._new_progress()
        # Changes of earlier leaders may be among what is not applied yet.
        self.pending_change_index = self.log.last_index
        self.append_own(b"", EntryKind.EMPTY)

    def reconcile_peers(self) -> None:
        """As the leader, follow the configuration: forget who is gone, begin with who is new."""
        members = self.configuration.members - {self.id}
        for gone in self.peers.keys() - members:
            del self.peers[gone]
        for member in sorted(members - self.peers.keys()):
            progress = self.peers[member] = self._new_progress()
            # It had no chance yet to be heard; it must not cost us the next check of the quorum.
            progress.recent_active = True

    def _new_progress(self) -> Progress:
        progress = Progress(
            self.log.last_index + 1,
            inflight_appends_max=self.config.inflight_appends_max,
            inflight_bytes_max=self.config.inflight_bytes_max,
        )
        progress.send_empty = True
        return progress

    def append_own(self, data: bytes, kind: EntryKind) -> int:
        """Append a leader's entry and return its index."""
        assert self.role is LEADER
        entry = Entry(self.term, self.log.last_index + 1, kind, data)
        self.log.append((entry,))
        self.uncommitted.append((entry.index, entry.size_bytes))
        self.uncommitted_bytes += entry.size_bytes
        self.appended_bytes += entry.size_bytes
        return entry.index

    def acknowledge(self, leader: int, index: int) -> None:
        """Vouch for the log up to `index`, once synced; of answers in a row the highest will do."""
        waiting = self.after_persist
        answer = Message(APPEND_RESPONSE, leader, self.id, self.term, index=index)
        if waiting:
            last = waiting[-1]
            if last.type is APPEND_RESPONSE and last.to == leader and last.term == self.term:
                if index > last.index:
                    waiting[-1] = answer
                return
        waiting.append(answer)

    def take_answers_above(self, index: int) -> list[Message]:
        """Take out of `after_persist`, and return, what vouches for entries above `index`."""
        waiting = self.after_persist
        taken = [
            one
            for one in waiting
            if one.type is APPEND_RESPONSE and not one.reject and one.index > index
        ]
        if taken:
            self.after_persist = [one for one in waiting if one not in taken]
        return taken

    def commit_to(self, index: int) -> None:
        """Advance the commit index, never back, and give room to new proposals."""
        assert index <= self.log.last_index, "commit beyond the log: entries were lost"
        if index <= self.log.commit_index:
            return
        self.log.commit_index = index
        while self.uncommitted and self.uncommitted[0][0] <= index:
            self.uncommitted_bytes -= self.uncommitted.popleft()[1]
