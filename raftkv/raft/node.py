"""The Raft node: one member's half of the algorithm, driven from outside.

The caller ticks it, steps messages into it and proposes; then, as long as `has_ready()`, it takes
`ready()` and does what that says. Nothing here blocks, waits or looks at a clock.
"""

from __future__ import annotations

from raftkv.raft import election, reconfiguration, replication, snapshots
from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.configuration_change import ConfigurationChange
from raftkv.raft.errors import NoLeader, NotLeader, ProposalDropped, UnknownMember
from raftkv.raft.log_reader import LogReader, RandomSource
from raftkv.raft.messages import (
    ENTRY_OVERHEAD_BYTES,
    Entry,
    EntryKind,
    HardState,
    Message,
    MessageType,
    SnapshotMetadata,
)
from raftkv.raft.progress import ProgressState
from raftkv.raft.read_index import Reader
from raftkv.raft.ready import PersistWork, ReadState, Ready, SoftState
from raftkv.raft.roles import Role
from raftkv.raft.state import RaftState
from raftkv.raft.status import NodeStatus, status_of

TERMLESS = frozenset({MessageType.READ_INDEX, MessageType.TRANSFER_LEADER})
"""Requests that a member passes on to whom it takes for the leader; their term is 0."""

FROM_LEADER = frozenset({MessageType.APPEND, MessageType.HEARTBEAT, MessageType.SNAPSHOT})
"""Messages that only the leader of their term sends."""


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
        self._taken = (hard_state.term, hard_state.vote)
        self._taken_commit = hard_state.commit
        self._told = (0, Role.FOLLOWER, hard_state.term)

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
        if state.role is Role.LEADER:
            for progress in state.peers.values():
                if replication.lacks_commit(state, progress):
                    return True
        return False

    @property
    def awaits_followers(self) -> bool:
        """Whether, as the leader, an entry or a read of ours still lacks answers."""
        state = self._state
        if state.role is not Role.LEADER:
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
        if state.role is not Role.LEADER:
            election.tick_election(state)
            return
        election.tick_leadership(state)
        if state.role is Role.LEADER:
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
        return self._state.append_own(data, EntryKind.NORMAL)

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
        if state.role is not Role.LEADER:
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
        if state.role is Role.LEADER:
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
        if state.role is Role.FOLLOWER:
            state.leader_id = 0

    def transfer_leader(self, member_id: int) -> None:
        """Hand the leadership to a voter, once it is level; given up after an election timeout.

        At a follower, ask the leader to. Raises UnknownMember, NoLeader.
        """
        state = self._state
        if member_id not in state.configuration.voters:
            raise UnknownMember(member_id)
        if state.role is Role.LEADER:
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
        if progress is not None and progress.state is ProgressState.REPLICATE:
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
        if message.term > state.term and not self._meet_higher_term(message):
            return
        if message.term < state.term:
            self._answer_lower_term(message)
            return
        self._step_term(message)

    def _meet_higher_term(self, message: Message) -> bool:
        """Deal with a term above ours; False if the message is to be ignored."""
        state = self._state
        is_vote = message.type in (MessageType.VOTE, MessageType.PRE_VOTE)
        if is_vote and not message.force and state.in_lease():
            return False
        if message.type is MessageType.PRE_VOTE:
            return self._step_pre_vote(message)
        if message.type is MessageType.PRE_VOTE_RESPONSE and not message.reject:
            election.handle_vote_response(state, message)
            return False
        leader = message.sender if message.type in FROM_LEADER else 0
        state.become_follower(message.term, leader)
        return True

    def _step_pre_vote(self, message: Message) -> bool:
        """Answer a pre-vote for a later term, which changes nothing here."""
        election.handle_vote_request(self._state, message)
        return False

    def _answer_lower_term(self, message: Message) -> None:
        """Tell a sender of an old term about ours where it would not learn it otherwise.

        A member that campaigned while cut off has a term above its leader's, refuses its APPENDs
        and cannot win: the answer makes that leader step down, and a new election includes both.
        """
        state = self._state
        match message.type:
            case MessageType.APPEND | MessageType.HEARTBEAT if (
                state.config.check_quorum or state.config.pre_vote
            ):
                self._tell_term(message.sender)
            case MessageType.VOTE:
                # A candidate that we would not ask for its vote learns of our term by this alone.
                self._tell_term(message.sender)
            case MessageType.PRE_VOTE:
                state.outbox.append(
                    Message(
                        MessageType.PRE_VOTE_RESPONSE,
                        message.sender,
                        state.id,
                        state.term,
                        reject=True,
                    )
                )
            case MessageType.PRE_VOTE_RESPONSE | MessageType.VOTE_RESPONSE:
                election.learn_from_answer(state, message)
            case MessageType.SNAPSHOT:
                snapshots.handle_late(state, message)
            case _:
                pass

    def _tell_term(self, member: int) -> None:
        """Answer what promises nothing, should the receiver lead our term or ask for its votes."""
        state = self._state
        state.outbox.append(Message(MessageType.HEARTBEAT_RESPONSE, member, state.id, state.term))

    def _step_term(self, message: Message) -> None:
        """Take a message of our own term."""
        state = self._state
        if message.type in FROM_LEADER and state.role is not Role.FOLLOWER:
            assert state.role is not Role.LEADER, "two leaders in one term"
            state.become_follower(state.term, message.sender)
        match message.type:
            case MessageType.APPEND:
                replication.handle_append(state, message)
            case MessageType.APPEND_RESPONSE:
                replication.handle_append_response(state, message)
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
        if state.role is not Role.LEADER:
            return
        if message.type is MessageType.READ_INDEX:
            if not state.reads.is_full():
                state.reads.add(Reader(message.sender, message.context))
        elif message.context in state.configuration.voters:
            self._begin_transfer(message.context)

    # --- what the node owes ------------------------------------------------------------------

    def has_ready(self) -> bool:
        """Say whether `ready()` has anything to hand out."""
        state = self._state
        if state.outbox or state.read_states or state.log.applicable():
            return True
        if not self._persisting and (state.after_persist or self._must_persist()):
            return True
        if state.role is Role.LEADER:
            if self._may_begin_reads() or state.reads.has_confirmed(state.configuration, state.id):
                return True
            for progress in state.peers.values():
                if replication.wants_append(state, progress):
                    return True
        return (state.leader_id, state.role, state.term) != self._told

    def ready(self) -> Ready:
        """Hand out all work that is due now; see `Ready` for what to do in which order."""
        state = self._state
        snapshot = self._take_snapshot()
        persist = self._take_persist()
        if state.role is Role.LEADER:
            self._serve_reads()
            replication.send_appends(state)
        messages, state.outbox = tuple(state.outbox), []
        read_states, state.read_states = tuple(state.read_states), []
        soft_state = (state.leader_id, state.role, state.term)
        news = SoftState(*soft_state) if soft_state != self._told else None
        self._told = soft_state
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
        if state.role is Role.LEADER:
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
        return state.log.has_unstable() or (state.term, state.vote) != self._taken

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
        hard_state = None
        commit = state.log.commit_index
        installing = self._installing is not None
        if self._installing is not None:
            # Entries behind the snapshot may be committed already, but are not in this write.
            commit = self._installing.index
        if installing or (state.term, state.vote, commit) != (*self._taken, self._taken_commit):
            hard_state = HardState(state.term, state.vote, commit)
            self._taken = (state.term, state.vote)
            self._taken_commit = commit
        self._persisting = True
        self._persisting_messages, state.after_persist = state.after_persist, []
        entries = () if installing else state.log.take_unstable()
        return PersistWork(hard_state, entries)

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
