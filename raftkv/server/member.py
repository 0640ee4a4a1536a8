"""One member: the loop turn that moves commands from clients into the log and back as answers.

Everything here runs on one event loop and nothing waits. Whatever happens (a request, a message, a
finished sync, a tick) notes itself and wakes the *turn*, which runs once per loop iteration:

1. commands gathered since the last turn become a batch, proposed here or sent to the leader;
2. what the Raft node owes is done: messages leave, entries are synced (by the loop or the log
   writer's thread), committed entries are applied and their clients answered;
3. reads whose index is applied are served, new events go to the watchers.

A lone APPEND, or its answer, is acted upon before that: see `take_alone`. The loop is the only
writer of the node, the store and everything else in this package.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from raftkv._native.snapshot_writer import SnapshotWriter
from raftkv._native.waiter import Waiter
from raftkv._native.watch_hub import WatchHub
from raftkv.config import Config
from raftkv.errors import ErrorCode
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.raft.errors import NoLeader, NotLeader, ProposalDropped, TooManyReads
from raftkv.raft.messages import (
    Message,
    MessageType,
    SnapshotMetadata,
)
from raftkv.raft.ready import PersistWork, Ready, SoftState
from raftkv.raft.roles import LEADER
from raftkv.server import forwarding
from raftkv.server.alarms import no_space_alarm
from raftkv.server.applier import Applier
from raftkv.server.auth_state import AuthState
from raftkv.server.cluster_state import ClusterState
from raftkv.server.command import CommandKind, FutureWaiter, NobodyWaits
from raftkv.server.commit_notice import CommitNotice
from raftkv.server.early_election import EarlyElection
from raftkv.server.follower_messages import FollowerMessages
from raftkv.server.forwarded_proposals import ForwardedProposals
from raftkv.server.hash_check import HashCheck
from raftkv.server.housekeeping import Housekeeping
from raftkv.server.leadership_transfer import LeadershipTransfer
from raftkv.server.lease_terms import LeaseLog
from raftkv.server.lease_timer import LeaseTimer
from raftkv.server.member_parts import MemberParts, MemberRemoved
from raftkv.server.membership import Membership
from raftkv.server.peer_links import REMOVAL_WAIT_S, PeerLinks
from raftkv.server.peer_requests import PeerRequests
from raftkv.server.proposals import POSTPONED, PROPOSED, Batch, Fate, Proposals, timeout_code
from raftkv.server.publication import Publication
from raftkv.server.quota import Quota
from raftkv.server.reads import ReadRounds, Serve
from raftkv.server.reconfiguration import Reconfiguration
from raftkv.server.snapshot_receiver import SnapshotReceiver
from raftkv.server.snapshot_sender import SnapshotSender

__all__ = ["Member", "MemberParts", "MemberRemoved"]

log = logging.getLogger(__name__)

FLUSH_POLL_S = 0.005
"""How soon a leader whose table is full looks again."""


class Member:
    """A running member. Made on its loop; begins to act with `start`."""

    def __init__(self, config: Config, membership: Membership, parts: MemberParts) -> None:
        loop = asyncio.get_running_loop()
        self.config = config
        self.membership = membership
        self.node = parts.node
        self.store = parts.store
        self.transport = parts.transport
        self.id = parts.node.id
        self.cluster_id = membership.cluster_id
        self.leader_changes = 0
        self.on_turn_end: Callable[[], object] = lambda: None
        """Called after every turn, and when the last client that waits has its answer; the front
        end flushes its answers here."""
        self.on_ready: Callable[[], object] = lambda: None
        """Called once, when this member has published itself and so serves everything."""
        self._loop = loop
        self._writer = parts.writer
        self._on_fatal = parts.on_fatal
        self.housekeeping = Housekeeping(
            config, parts.store, parts.writer, parts.trimmer, loop.time()
        )
        self._links = PeerLinks(self.id, parts.transport, membership.list(), loop)
        timeout_s = config.request_timeout_s
        self.proposals = Proposals(self.id, parts.life, timeout_s)
        self.auth = AuthState(parts.store, self.proposals.set_stamp)
        self.cluster = ClusterState(self.id, membership, parts.store, self._links, self.auth)
        self.cluster.on_published = lambda: self.on_ready()
        self.quota = Quota(config.quota_bytes, parts.store, self.cluster.alarms, self._arm_no_space)
        self._followers = FollowerMessages(parts.node, loop, parts.transport.send)
        self._notice = CommitNotice(parts.node, loop, self.wake, self._followers)
        self.snapshots = self._make_snapshot_sender(parts)
        self.received = SnapshotReceiver(self._open_snapshot, loop)
        self.reads = ReadRounds(parts.read_seed, timeout_s)
        self._forwarded = ForwardedProposals(
            parts.node, parts.transport, self.proposals, self.auth, self._notice
        )
        self.leases = LeaseTimer(
            parts.node,
            parts.transport,
            LeaseLog(parts.node, self.proposals, self.wake),
            parts.store,
            ttl_min_s=max(1, -(-3 * round(config.election_timeout_s * 1000) // 2000)),
            confirm=self.read_barrier,
            request_timeout_s=timeout_s,
            clock=loop.time,
        )
        self.cluster.on_lease_terms = self.leases.apply_terms
        self.hub = WatchHub(
            parts.store,
            self._pump_watchers_soon,
            cluster_id=self.cluster_id,
            member_id=self.id,
            fragment_bytes=config.request_bytes_max + 512 * 1024,
        )
        self.hub.raft_term = parts.node.term
        self.changes = self._make_changes(parts)
        self._requests = PeerRequests(self, self.received)
        self.hash_check = HashCheck(self, config.corrupt_check_s)
        self._early_election = EarlyElection(self.id)
        self._awake = self._awaits_flush = self._stopped = self._reading = False
        self._publication = Publication(self.id, config, self.cluster, self.propose)
        self._next_progress = loop.time() + config.progress_notify_interval_s
        self._tick_timer: asyncio.TimerHandle | None = None
        self._transfer = LeadershipTransfer(loop)
        self._applier = Applier(self, loop, lambda: self.on_turn_end())

    def _make_snapshot_sender(self, parts: MemberParts) -> SnapshotSender:
        return SnapshotSender(
            parts.store,
            parts.transport,
            parts.trimmer,
            self._loop,
            bytes_per_s=self.config.snapshot_bytes_per_s,
            latency=self._notice.latency,
            match_index=parts.node.match_index,
            on_end=self._snapshot_sent,
        )

    def _make_changes(self, parts: MemberParts) -> Reconfiguration:
        return Reconfiguration(
            parts.node,
            self.membership,
            parts.transport,
            self._loop,
            rules=self.config.reconfiguration,
            timeout_s=self.config.request_timeout_s,
            wake=self.wake,
        )

    def start(self) -> None:
        """Begin to tick and to take part."""
        self.leases.load()
        self.cluster.load(self.node.configuration)
        if self.cluster.was_removed:
            self._loop.call_later(REMOVAL_WAIT_S, self.learn_of_removal)
        self._tick_timer = self._loop.call_later(self.config.heartbeat_interval_s, self._tick)
        if self.node.configuration.voters == {self.id}:
            self.node.campaign()
        self.wake()

    def stop(self) -> None:
        """Answer everybody who waits and act no more. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self.proposals.close()
        self.reads.close()
        self.changes.abandon(ErrorCode.STOPPED)
        self.leases.follow()
        self.snapshots.cancel()
        self.received.close()
        self._links.close()
        self.hash_check.close()
        self._notice.close()
        self._followers.close()

    # --- what clients ask --------------------------------------------------------------------

    def propose(self, kind: int, payload: bytes, waiter: Waiter) -> None:
        """Have a command replicated and applied; its waiter gets the answer. Bounded."""
        if self.proposals.add(kind, payload, waiter) and not self._awake:
            self.wake()

    async def propose_and_wait(self, kind: int, payload: bytes) -> bytes:
        """Like `propose`, and return the response message. Raises StoreError."""
        waiter = FutureWaiter(self._loop)
        self.propose(kind, payload, waiter)
        return await waiter.future

    def read(self, serve: Serve, waiter: Waiter, request: bytes) -> None:
        """Call `serve(waiter, request)` once the store holds all writes answered until now."""
        self.reads.add(serve, waiter, request)
        if not self._awake:
            self.wake()

    async def read_barrier(self) -> None:
        """Return once the store holds all writes answered until now. Raises StoreError."""
        waiter = FutureWaiter(self._loop)
        self.read(_pass, waiter, b"")
        await waiter.future

    async def transfer_leadership(self, member_id: int) -> None:
        """Hand the leadership to a voter and return once somebody else leads.

        Raises RaftError where that member cannot lead, StoreError when it does not come to it.
        """
        self.node.transfer_leader(member_id)
        self.wake()
        await self._transfer.done(self.config.request_timeout_s)

    def header(self, revision: int | None = None) -> pb.ResponseHeader:
        """Return a response header, by default with the current revision."""
        return pb.ResponseHeader(
            cluster_id=self.cluster_id,
            member_id=self.id,
            revision=self.store.revision if revision is None else revision,
            raft_term=self.node.term,
        )

    @property
    def is_leader(self) -> bool:
        """Whether this member leads as far as it knows."""
        return self.node.role is LEADER

    @property
    def is_learner(self) -> bool:
        """Whether this member only listens; before it knows its cluster, it does too."""
        return self.id not in self.node.configuration.all_voters

    def _arm_no_space(self) -> None:
        """Have everybody refuse to grow: this member's state is at its quota."""
        self.propose(CommandKind.ALARM, no_space_alarm(self.id), NobodyWaits())

    # --- what other members and the disk say ---------------------------------------------------

    def take_messages(self, messages: Sequence[Message]) -> None:
        """Step Raft messages; `end_read` acts on them. Snapshots come by `take_snapshot` only."""
        try:
            if not self._stopped:
                self._step([one for one in messages if one.type is not MessageType.SNAPSHOT])
        except Exception as error:
            self.fail(error)

    def take_alone(self, messages: Sequence[Message]) -> None:
        """Take the messages of one read that brought no more, and act on them."""
        has_applied = None
        if len(messages) == 1 and not self._stopped:
            try:
                has_applied = self._take_short(messages[0])
            except Exception as error:
                return self.fail(error)
        if has_applied is None:
            self.take_messages(messages)
        if not has_applied:
            return self.end_read()
        return None if self._awake else self._turn()

    def _take_short(self, message: Message) -> bool | None:
        """Of an APPEND or its answer, do first what somebody waits for: the sync and the answer to
        it, or to apply what is committed. Returns whether entries were applied; None for all that
        has to go the long way.
        """
        found = self.node.next_append(message)
        if found is not None and self._writer.is_quick(found[0]):
            self._writer.write(found[0])
            self.transport.send(found[1:])
            self.node.appended(message)
            self._notice.stepped(message)
            return False
        entries = self.node.commit_at_once(message)
        if entries is None:
            return None
        if entries:
            self._applier.apply(entries)
        self._notice.stepped(message)
        return bool(entries)

    def end_read(self) -> None:
        """Act on the messages of one read of a connection, now unless a turn is due anyway."""
        has_work = self.node.has_ready() or self.reads.wants_round or self.proposals.has_postponed
        if has_work and not self._awake:
            self._turn()

    def take_snapshot(self, message: Message) -> None:
        """Step a SNAPSHOT whose state is here, complete and checked."""
        if self._stopped:
            return
        try:
            self._step([message])
        except Exception as error:
            self.fail(error)
        self.wake()

    def _step(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.node.step(message)
            self._notice.stepped(message)

    def take_forwarded(self, sender: int, data: bytes) -> None:
        """Act on a forwarded message; a malformed one is logged and dropped."""
        if not self._stopped and self._forwarded.take(sender, data):
            self.wake()

    async def answer_peer(self, sender: int, kind: str, payload: bytes) -> bytes:
        """Answer a request of another member. Raises ValueError for an unknown one."""
        return await self._requests.answer(sender, kind, payload)

    def learn_of_removal(self) -> None:
        """Stop: another member says that this one was removed from the cluster."""
        self.fail(MemberRemoved())

    def report_unreachable(self, member_id: int) -> None:
        """Take note that messages to a member were lost.

        When a leader's process ends, every follower sees its connection close: they need not wait
        out the election timeout. A leader that is well is known again by its next heartbeat.
        """
        if self._stopped:
            return
        self.node.report_unreachable(member_id)
        if member_id == self.node.leader_id and not self.transport.is_connected(member_id):
            self.node.forget_leader()
        self.wake()

    def _persisted(self) -> None:
        """Go on at once when a sync is done: the disk should not wait for the next turn."""
        if self._stopped:
            return
        try:
            self.transport.send(self.node.persisted())
        except Exception as error:
            self.fail(error)
        self._turn()

    # --- the turn ------------------------------------------------------------------------------

    def wake(self) -> None:
        """Have a turn run in this iteration of the loop, after what is already due."""
        if not self._awake:
            self._awake = True
            if not self._reading:
                self._loop.call_soon(self._turn)

    def begin_client_read(self) -> None:
        """Take note that requests of one read of a client's connection follow."""
        self._reading = True

    def end_client_read(self) -> None:
        """Act on them: now where nobody else waits, so that nothing is gained by waiting."""
        self._reading = False
        if self._awake and self.proposals.pending_count + self.reads.count == 1:
            self._turn()
        elif self._awake:
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._awake = False
        if self._stopped:
            return
        try:
            now = self._loop.time()
            self.proposals.flush(self.node.term, now, self._propose)
            self.reads.begin(now, self._ask_read_index)
            self._do_what_is_owed()
            self.reads.serve(self.node.applied_index, self.on_turn_end)
            self.hub.publish()
            if self._notice.is_due(now):
                self.on_turn_end()
                self._do_what_is_owed()
                self._notice.told()
        except Exception as error:
            self.fail(error)
        self.on_turn_end()

    def fail(self, error: Exception) -> None:
        """Stop for good: the disk failed or an invariant is broken."""
        if not self._stopped:
            self.stop()
            self._on_fatal(error)

    def _do_what_is_owed(self) -> None:
        while self.node.has_ready():
            self._handle(self.node.ready())

    def _handle(self, ready: Ready) -> None:
        """Do what the node owes, in the order that `Ready` demands."""
        if ready.soft_state is not None:
            self._follow_leader(ready.soft_state)
        work, leads = ready.persist, self.is_leader
        at_once = work if work and not ready.snapshot and self._writer.is_quick(work) else None
        if leads:
            self._followers.send(ready.messages, syncs=at_once is not None)
            if at_once:
                self._writer.begin(at_once)  # ended when all else is done
        else:
            self.transport.send(ready.messages)
        if ready.snapshot is not None:
            self._install(ready.snapshot, work)
        elif work is not None and not at_once:
            self._writer.submit(work, self._persisted)
        if at_once and not leads:
            self._writer.write(at_once)  # the leader waits for it
            self.transport.send(self.node.persisted())
        if ready.committed_entries:
            self._applier.apply(ready.committed_entries)
        for state in ready.read_states:
            self.reads.confirm(state.context, state.index)
        if at_once and leads:
            self.on_turn_end()  # whoever was answered just now waits for no other sync
            self._end_write()
            self._followers.synced()
        self.snapshots.begin_those_of(ready.messages)

    def _end_write(self) -> None:
        self._writer.end()
        self.transport.send(self.node.persisted())

    def _follow_leader(self, state: SoftState) -> None:
        """Adapt to a new leader, role or term."""
        self.hub.raft_term = state.term
        if state.role is not LEADER:
            self.leases.follow()
            self.snapshots.cancel()
        if state.leader_id not in (0, self.id):
            self._transfer.other_leads()
        if state.leader_id:
            self.leader_changes += 1
            log.info(
                "leader elected" if state.leader_id != self.id else "became leader",
                extra={"leader": f"{state.leader_id:x}", "term": state.term},
            )
            self.reads.ask_again(self._loop.time(), self._ask_read_index)
            self._publication.propose(self._loop.time(), state.leader_id)
        self.wake()

    def _propose(self, batch: Batch) -> Fate:
        """Propose a batch to whoever leads in the present term."""
        leader_id = self.node.leader_id
        if leader_id == 0:
            return POSTPONED
        if leader_id == self.id:
            if self.store.table_full:
                if not self._awaits_flush:
                    self._awaits_flush = True
                    self._loop.call_later(FLUSH_POLL_S, self._retry_after_flush)
                return POSTPONED
            try:
                index = self.node.propose(batch.data)
                self._notice.proposed(self._loop.time(), index)
            except (NotLeader, ProposalDropped):
                return POSTPONED
            return PROPOSED
        message = forwarding.encode(forwarding.Propose(batch.term, batch.data))
        return PROPOSED if self.transport.forward(leader_id, message) else POSTPONED

    def _retry_after_flush(self) -> None:
        """See whether the flusher has made room for what was postponed."""
        self._awaits_flush = False
        if not self._stopped:
            try:
                self.store.maybe_flush()
            except Exception as error:
                self.fail(error)
            self.wake()

    def _ask_read_index(self, context: int) -> bool:
        try:
            self.node.read_index(context)
        except (NoLeader, TooManyReads):
            return False
        return True

    # --- snapshots -------------------------------------------------------------------------------

    def _open_snapshot(self) -> SnapshotWriter:
        """Open what is received beside the state; runs in a thread."""
        return SnapshotWriter(self.store.path, cluster_id=self.cluster_id, member_id=self.id)

    def _snapshot_sent(self, follower: int, ok: bool) -> None:
        if not self._stopped:
            self.node.report_snapshot(follower, ok)
            self.wake()

    def _install(self, snapshot: SnapshotMetadata, work: PersistWork | None) -> None:
        """Put the received state in the place of ours, then begin the log behind it.

        Commands of our clients may be in it, unseen: their outcome is unknown from now on.
        """
        assert work is not None
        writer = self.received.take()
        self.hub.publish()
        self.store.install(writer)
        writer.close()
        self._applier.installed(snapshot.term)
        self.proposals.abandon(ErrorCode.TIMEOUT)
        self.changes.abandon(ErrorCode.TIMEOUT)
        self.cluster.load(snapshot.configuration)
        self.leases.load()
        self.hub.replay()
        self.housekeeping.snapshot_installed(snapshot.index)
        log.info("installed a snapshot", extra={"index": snapshot.index})
        self._writer.reset(snapshot.index, snapshot.term, work.hard_state, self._persisted)

    # --- time ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Count one heartbeat interval; a stalled loop does not make up for the ones it missed."""
        self._tick_timer = self._loop.call_later(self.config.heartbeat_interval_s, self._tick)
        try:
            self._count_tick(self._loop.time())
        except Exception as error:
            self.fail(error)
        self.wake()

    def _count_tick(self, now: float) -> None:
        self.node.tick()
        if self._early_election.tick(
            self.node.leader_id,
            [one for one in self.membership.ids if self.transport.is_connected(one)],
            self.node.configuration.voters,
        ):
            self.node.campaign()
        leader_id = self.node.leader_id
        is_heard = leader_id == self.id or self.transport.is_connected(leader_id)
        self.proposals.expire(now, timeout_code(leader_id, is_heard=is_heard))
        self.reads.tick(now, self._ask_read_index)
        self.leases.tick(now)
        self.quota.tick(now)
        self.hash_check.tick(now)
        self._publication.tick(now, self.node.leader_id)
        if now >= self._next_progress:
            self._next_progress = now + self.config.progress_notify_interval_s
            self.hub.notify_progress()
        self._keep_house(now)

    def _keep_house(self, now: float) -> None:
        """Keep log and history bounded; as the leader, compact by schedule."""
        revision = self.housekeeping.tick(now)
        if revision and self.is_leader:
            log.info("compacting by schedule", extra={"revision": revision})
            request = pb.CompactionRequest(revision=revision).SerializeToString()
            self.propose(CommandKind.COMPACTION, request, NobodyWaits())

    # --- background work -------------------------------------------------------------------------

    def _pump_watchers_soon(self) -> None:
        self._loop.call_soon(self._pump_watchers)

    def _pump_watchers(self) -> None:
        if not self._stopped and self.hub.pump():
            self._loop.call_soon(self._pump_watchers)


def _pass(waiter: Waiter, _request: bytes) -> None:
    waiter.reply(b"")
