"""The Raft node: one member's half of the algorithm, driven from outside.

The caller ticks it, steps messages into it and proposes; then, as long as `has_ready()`, it takes
`ready()` and does what that says. Nothing here blocks, waits or looks at a clock.
"""

from __future__ import annotations

from raftkv.raft import election, reconfiguration, replication, snapshots, terms
from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ConfigurationChange
from raftkv.raft.errors import NoLeader, NotLeader, ProposalDropped, UnknownMember
from raftkv.raft.log_reader import LogReader, RandomSource
from raftkv.raft.messages import (
    APPEND,
    APPEND_RESPONSE,
    ENTRY_OVERHEAD_BYTES,
    NORMAL,
    Entry,
    HardState,
    Message,
    MessageType,
    SnapshotMetadata,
    are_intact,
)
from raftkv.raft.progress import REPLICATE
from raftkv.raft.read_index import Reader
from raftkv.raft.ready import PersistWork, ReadState, Ready, SoftState
from raftkv.raft.roles import FOLLOWER, LEADER, Role
from raftkv.raft.state import RaftState
from raftkv.raft.status import NodeStatus, status_of

TERMLESS = frozenset({MessageType.READ_INDEX, MessageType.TRANSFER_LEADER})
"""Requests that a member passes on to whom it takes for the leader; their term is 0."""


class RaftNode:
    """One member of the cluster. Not thread-safe: one task owns it."""

    def __init__(
        self,
        config: RaftConfig,
        configuration: Configuration,
        log: LogReader,
        hard_state: HardState,
        applied_index: int,
        random: RandomSource,
    ) -> None:
        """Start as a follower, from what the disk holds.

        `applied_index` is what the state machine has durably applied, `configuration` the
        membership as of that entry; entries after it are handed out again. A member that joins a
        running cluster starts with an empty log and an empty `Configuration()`: it gets both by
        snapshot. Raises ValueError for wrong settings or a log that lacks what is applied.
        """
        config.validate()
        self._state = RaftState(config, configuration, log, hard_state, applied_index, random)
        self._persisting = False
        self._installing: SnapshotMetadata | None = None
        """The sync under way is the installation of this snapshot."""
        self._persisting_messages: list[Message] = []
        self._taken_term = hard_state.term
        self._taken_vote = hard_state.vote
        self._taken_commit = hard_state.commit
        self._told = SoftState(0, FOLLOWER, hard_state.term)

    # --- what the caller may ask -------------------------------------------------------------

    @property
    def id(self) -> int:
        """This member."""
        return self._state.id

    @property
    def term(self) -> int:
        """The present term."""
        return self._state.term

    @property
    def leader_id(self) -> int:
        """Who leads as far as we know; 0 if nobody."""
        return self._state.leader_id

    @property
    def role(self) -> Role:
        """What we are."""
        return self._state.role

    @property
    def commit_index(self) -> int:
        """The highest index known to be committed; may be above what is synced here."""
        return self._state.log.commit_index

    @property
    def applied_index(self) -> int:
        """The highest index that the caller has said to be applied."""
        return self._state.applied_index

    @property
    def configuration(self) -> Configuration:
        """The membership as of the last change that was applied here."""
        return self._state.configuration

    @property
    def last_index(self) -> int:
        """The last entry of the log, synced or not."""
        return self._state.log.last_index

    @property
    def owes_commit(self) -> bool:
        """Whether, as the leader, a follower was not told yet of all that is committed."""
        state = self._state
        if state.role is LEADER:
            for progress in state.peers.values():
                if replication.lacks_commit(state, progress):
                    return True
        return False

    @property
    def awaits_followers(self) -> bool:
        """Whether, as the leader, an entry or a read of ours still lacks answers."""
        state = self._state
        if state.role is not LEADER:
            return False
        return state.log.commit_index < state.log.last_index or state.reads.has_rounds()

    def hold_commit(self, hold: bool) -> None:
        """Have a commit index wait for a message that goes to the follower anyway, or no longer.

        What is committed does not depend on it, only when followers hear of it. The caller sees to
        it that they do; heartbeats tell them at the latest.
        """
        self._state.hold_commit = hold

    def status(self) -> NodeStatus:
        """Return a picture of the node."""
        return status_of(self._state)

    def match_index(self, member: int) -> int:
        """Return up to where a follower has our log for certain; -1 unless we lead it."""
        progress = self._state.peers.get(member)
        return -1 if progress is None else progress.match_index

    # --- what happens to the node ------------------------------------------------------------

    def tick(self) -> None:
        """Count one tick of the clock."""
        state = self._state
        if state.role is not LEADER:
            election.tick_election(state)
            return
        election.tick_leadership(state)
        if state.role is LEADER:
            reconfiguration.leave_joint_if_due(state)
            replication.tick_heartbeat(state)
            replication.tick_catch_up(state)

    def campaign(self) -> None:
        """Begin an election now, as if the timeout had passed; nothing if we lead or may not."""
        election.campaign(self._state)

    def propose(self, data: bytes) -> int:
        """Append a NORMAL entry and return its index.

        It is committed only when it is handed out as such. Raises NotLeader, or ProposalDropped
        when the leadership is being handed over or too much is uncommitted; in both cases the entry
        is certainly not in the log.
        """
        self._check_proposal(len(data))
        return self._state.append_own(data, NORMAL)

    def propose_configuration(self, change: ConfigurationChange) -> int:
        """Append a change of membership and return its index; in force once applied.

        One at a time: raises ConfigurationChangePending while another is not applied here,
        InvalidConfigurationChange where it does not fit, and whatever `propose` raises; in all
        cases the change is certainly not in the log. One that is accepted may still be lost with
        the leadership; if it commits, it applies.
        """
        self._check_proposal(0)
        reconfiguration.check_proposal(self._state, change)
        return reconfiguration.propose(self._state, change)

    def _check_proposal(self, data_bytes: int) -> None:
        """Raise unless this member may append an own entry now."""
        state = self._state
        if state.role is not LEADER:
            raise NotLeader(state.leader_id)
        if state.transferee:
            raise ProposalDropped("the leadership is being handed over")
        waiting = state.uncommitted_bytes
        size = data_bytes + ENTRY_OVERHEAD_BYTES
        if waiting and waiting + size > state.config.uncommitted_bytes_max:
            raise ProposalDropped(f"{waiting} bytes of entries await commitment")

    def read_index(self, context: int) -> None:
        """Ask for the index that a linearizable read must wait for; it comes as a `ReadState`.

        `context` names the read and must not be used twice by this member. The answer never comes
        if a message is lost or the leader changes: the caller asks again after a while, or when
        `soft_state` changes. Raises NoLeader, TooManyReads.
        """
        state = self._state
        if state.role is LEADER:
            state.reads.add(Reader(state.id, context))
        elif state.leader_id:
            state.outbox.append(
                Message(MessageType.READ_INDEX, state.leader_id, state.id, 0, context=context)
            )
        else:
            raise NoLeader

    def forget_leader(self) -> None:
        """As a follower, no longer count on the leader: votes are free before the timeout.

        For when the leader is known to be gone. It is known again by its next message.
        """
        state = self._state
        if state.role is FOLLOWER:
            state.leader_id = 0

    def transfer_leader(self, member_id: int) -> None:
        """Hand the leadership to a voter, once it is level; given up after an election timeout.

        At a follower, ask the leader to. Raises UnknownMember, NoLeader.
        """
        state = self._state
        if member_id not in state.configuration.voters:
            raise UnknownMember(member_id)
        if state.role is LEADER:
            self._begin_transfer(member_id)
        elif state.leader_id:
            state.outbox.append(
                Message(
                    MessageType.TRANSFER_LEADER, state.leader_id, state.id, 0, context=member_id
                )
            )
        else:
            raise NoLeader

    def _begin_transfer(self, member_id: int) -> None:
        state = self._state
        if member_id == state.id or member_id == state.transferee:
            return
        state.transferee = member_id
        state.election_elapsed = 0
        replication.maybe_hand_over(state)

    def report_unreachable(self, member_id: int) -> None:
        """Note that messages to a follower were lost, so that pipelining to it stops."""
        progress = self._state.peers.get(member_id)
        if progress is not None and progress.state is REPLICATE:
            progress.become_probe()
            progress.send_empty = False
            progress.probe_sent = True  # until a heartbeat is answered

    def report_snapshot(self, member_id: int, ok: bool) -> None:
        """Note that the transfer asked for by a SNAPSHOT message ended, well or not.

        To be called once for each such message, else the follower gets nothing more. A follower
        that could not be brought level is offered another snapshot when it shows signs of life.
        """
        snapshots.report(self._state, member_id, ok=ok)

    def step(self, message: Message) -> None:
        """Take one message from another member. Messages of no use are ignored.

        A SNAPSHOT is for when the state has been received completely and checked; its metadata is
        that of the received state. If it is news, the next `Ready.snapshot` says to install it.
        """
        state = self._state
        assert message.to == state.id, "a message for somebody else"
        if message.type in TERMLESS:
            self._step_request(message)
            return
        if message.term > state.term and not terms.meet_higher(state, message):
            return
        if message.term < state.term:
            terms.answer_lower(state, message)
            return
        self._step_term(message)

    def _step_term(self, message: Message) -> None:
        """Take a message of our own term."""
        state = self._state
        if message.type in terms.FROM_LEADER and state.role is not FOLLOWER:
            assert state.role is not LEADER, "two leaders in one term"
            state.become_follower(state.term, message.sender)
        if message.type is APPEND:
            replication.handle_append(state, message)
            return
        if message.type is APPEND_RESPONSE:
            replication.handle_append_response(state, message)
            return
        match message.type:
            case MessageType.HEARTBEAT:
                replication.handle_heartbeat(state, message)
            case MessageType.HEARTBEAT_RESPONSE:
                replication.handle_heartbeat_response(state, message)
            case MessageType.VOTE | MessageType.PRE_VOTE:
                election.handle_vote_request(state, message)
            case MessageType.VOTE_RESPONSE | MessageType.PRE_VOTE_RESPONSE:
                election.handle_vote_response(state, message)
            case MessageType.TIMEOUT_NOW:
                election.handle_timeout_now(state)
            case MessageType.READ_INDEX_RESPONSE:
                state.read_states.append(ReadState(message.context, message.index))
            case MessageType.SNAPSHOT:
                snapshots.handle(state, message)
            case _:
                pass

    def _step_request(self, message: Message) -> None:
        """Serve what a follower asks of its leader; ignored when that is not us any more."""
        state = self._state
        if state.role is not LEADER:
            return
        if message.type is MessageType.READ_INDEX:
            if not state.reads.is_full():
                state.reads.add(Reader(message.sender, message.context))
        elif message.context in state.configuration.voters:
            self._begin_transfer(message.context)

    def next_append(self, message: Message) -> tuple[PersistWork, Message] | None:
        """Return what an APPEND has to be synced and answered with, if nothing else is owed.

        That is, it goes on where the synced log ends, as nearly all do. What `step`, `ready` and
        `persisted` come to is then: to sync the work, to send the answer and to call `appended`,
        with no other call in between. Changes nothing; None for every other message.
        """
        state = self._state
        log = state.log
        if (
            message.type is not APPEND
            or not message.entries
            or not 0 < message.index == log.last_index == log.taken_index
            or message.log_term != log.last_term
            or message.sender != state.leader_id
            or message.term != state.term
            or (self._persisting or state.outbox or state.after_persist)
            or state.pending_snapshot is not None
            or self._has_new_vote()
            or not are_intact(message.entries)
        ):
            return None
        last = message.entries[-1].index
        commit = max(log.commit_index, min(message.commit, last))
        hard_state = None
        if commit != self._taken_commit:
            hard_state = HardState(state.term, state.vote, commit)
        answer = Message(APPEND_RESPONSE, message.sender, state.id, state.term, index=last)
        return PersistWork(hard_state, message.entries), answer

    def appended(self, message: Message) -> None:
        """Note that the work of `next_append` is synced."""
        state = self._state
        replication.take_next(state, message)
        state.log.take_unstable()
        state.log.mark_stable()
        self._taken_commit = state.log.commit_index

    def commit_at_once(self, message: Message) -> tuple[Entry, ...] | None:
        """As the leader, take an APPEND_RESPONSE of our term and return what it lets be applied.

        As if `step` and `ready` had followed each other, but that all else stays owed. None for
        everything else, of which nothing was taken.
        """
        state = self._state
        if (
            message.type is not APPEND_RESPONSE
            or message.term != state.term
            or state.role is not LEADER
        ):
            return None
        replication.handle_append_response(state, message)
        return state.log.take_committed(state.config.committed_bytes_max)

    # --- what the node owes ------------------------------------------------------------------

    def has_ready(self) -> bool:
        """Say whether `ready()` has anything to hand out."""
        state = self._state
        if state.outbox or state.read_states or state.log.applicable():
            return True
        if not self._persisting and (state.after_persist or self._must_persist()):
            return True
        if state.role is LEADER:
            if self._may_begin_reads() or state.reads.has_confirmed(state.configuration, state.id):
                return True
            for progress in state.peers.values():
                if replication.wants_append(state, progress):
                    return True
        return self._has_news()

    def _has_news(self) -> bool:
        """Say whether the `SoftState` is another than the one that was told."""
        state, told = self._state, self._told
        return (
            state.leader_id != told.leader_id
            or state.role is not told.role
            or state.term != told.term
        )

    def ready(self) -> Ready:
        """Hand out all work that is due now; see `Ready` for what to do in which order."""
        state = self._state
        snapshot = self._take_snapshot()
        persist = self._take_persist()
        if state.role is LEADER:
            self._serve_reads()
            replication.send_appends(state)
        messages, state.outbox = tuple(state.outbox), []
        read_states, state.read_states = tuple(state.read_states), []
        news = None
        if self._has_news():
            news = self._told = SoftState(state.leader_id, state.role, state.term)
        return Ready(
            persist=persist,
            messages=messages,
            committed_entries=state.log.take_committed(state.config.committed_bytes_max),
            read_states=read_states,
            soft_state=news,
            snapshot=snapshot,
        )

    def persisted(self) -> list[Message]:
        """Note that the work of the last `Ready.persist` is synced, and the snapshot of that
        `Ready` installed; return what may leave now.

        The returned messages vouch for what was synced: votes, acknowledgements, vote requests.
        """
        assert self._persisting, "persisted() without a sync under way"
        state = self._state
        self._persisting = False
        if self._installing is not None:
            self._note_installed(self._installing)
        state.log.mark_stable()
        if state.role is LEADER:
            replication.maybe_commit(state)
        messages, self._persisting_messages = self._persisting_messages, []
        return self._deliver_own(messages)

    def applied(self, index: int) -> None:
        """Note that the state machine has applied everything up to `index`."""
        state = self._state
        assert state.applied_index <= index <= state.log.handed_out_index
        assert state.configuration_index <= index, "applied() before a change of membership"
        state.applied_index = index
        reconfiguration.leave_joint_if_due(state)
        if state.campaign_when_applied:
            election.handle_timeout_now(state)

    def apply_configuration(self, entry: Entry) -> Configuration:
        """Let a committed CONF_CHANGE entry take effect; return the membership after it.

        To be called for each one handed out, in its turn among the entries that are applied, and
        followed by `applied()`. The caller stores the result together with the applied index.
        Raises ValueError for an entry that is not an encoded change.
        """
        return reconfiguration.apply_entry(self._state, entry)

    def _must_persist(self) -> bool:
        state = self._state
        if state.pending_snapshot is not None:
            return True
        return state.log.has_unstable() or self._has_new_vote()

    def _has_new_vote(self) -> bool:
        """Say whether the term or the vote is not handed out for syncing yet."""
        state = self._state
        return state.term != self._taken_term or state.vote != self._taken_vote

    def _take_snapshot(self) -> SnapshotMetadata | None:
        """Hand out a snapshot to install, once no sync is under way that writes to the old log."""
        state = self._state
        if self._persisting or state.pending_snapshot is None:
            return None
        self._installing = state.pending_snapshot
        return self._installing

    def _note_installed(self, snapshot: SnapshotMetadata) -> None:
        state = self._state
        self._installing = None
        state.applied_index = snapshot.index
        if state.pending_snapshot is snapshot:  # else a later one came meanwhile
            state.pending_snapshot = None
            state.log.snapshot_installed()

    def _take_persist(self) -> PersistWork | None:
        """Begin a sync if none is under way and one is needed; else let go what waited for none."""
        state = self._state
        if self._persisting:
            return None
        if not self._must_persist():
            waiting, state.after_persist = state.after_persist, []
            state.outbox += self._deliver_own(waiting)
            if not self._must_persist():
                return None
        self._persisting = True
        if self._installing is not None:
            return PersistWork(self._begin_installation(self._installing), ())
        hard_state = self._changed_hard_state(state.log.commit_index)
        self._persisting_messages, state.after_persist = state.after_persist, []
        return PersistWork(hard_state, state.log.take_unstable())

    def _begin_installation(self, snapshot: SnapshotMetadata) -> HardState | None:
        """Return what is written with a snapshot.

        Entries behind it may be here already, and committed, but are not in this write: nothing in
        it, and no message that it lets go, may claim them.
        """
        state = self._state
        later = state.take_answers_above(snapshot.index)
        self._persisting_messages, state.after_persist = state.after_persist, later
        return self._changed_hard_state(snapshot.index, always=True)

    def _changed_hard_state(self, commit: int, *, always: bool = False) -> HardState | None:
        """Return what is to be written now of term, vote and commit index; None if nothing new."""
        state = self._state
        if always or commit != self._taken_commit or self._has_new_vote():
            self._taken_term = state.term
            self._taken_vote = state.vote
            self._taken_commit = commit
            return HardState(state.term, state.vote, commit)
        return None

    def _deliver_own(self, messages: list[Message]) -> list[Message]:
        """Step messages to ourselves (our own vote) and return the others."""
        others = []
        for message in messages:
            if message.to == self._state.id:
                self.step(message)
            else:
                others.append(message)
        return others

    def _may_begin_reads(self) -> bool:
        state = self._state
        return state.reads.has_gathered() and replication.has_committed_in_term(state)

    def _serve_reads(self) -> None:
        """Begin a round for the reads that wait, and answer those whose round is confirmed."""
        state = self._state
        if self._may_begin_reads():
            state.reads.begin_round(state.log.commit_index)
            replication.send_heartbeats(state)
        for index, reader in state.reads.take_confirmed(state.configuration, state.id):
            if reader.member == state.id:
                state.read_states.append(ReadState(reader.context, index))
            else:
                state.outbox.append(
                    Message(
                        MessageType.READ_INDEX_RESPONSE,
                        reader.member,
                        state.id,
                        state.term,
                        index=index,
                        context=reader.context,
                    )
                )
