"""One member: the loop turn that moves commands from clients into the log and back as answers.

Everything here runs on one event loop and nothing waits. Whatever happens (a request, a message, a
finished sync, a tick) notes itself and wakes the *turn*, which runs once per loop iteration:

1. commands gathered since the last turn become a batch, proposed here or sent to the leader;
2. what the Raft node owes is done: messages leave, entries go to the log writer's thread,
   committed entries are applied and their clients answered;
3. reads whose index is applied are served, new events go to the watchers.

The turn is the only writer of the node, the store and everything else in this package.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from raftkv._native.command_batch import CommandBatch, answer, read_commands, read_header
from raftkv._native.waiter import Waiter
from raftkv._native.watch_hub import WatchHub
from raftkv.config import Config
from raftkv.errors import ERRORS, ErrorCode, StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.peer.transport import PeerTransport
from raftkv.raft.errors import NoLeader, NotLeader, ProposalDropped, TooManyReads
from raftkv.raft.messages import Entry, EntryKind, Message
from raftkv.raft.node import RaftNode
from raftkv.raft.ready import PersistWork, Ready, SoftState
from raftkv.raft.roles import Role
from raftkv.server import forwarding
from raftkv.server.command import CommandKind, FutureWaiter, NobodyWaits
from raftkv.server.early_election import EarlyElection
from raftkv.server.housekeeping import Housekeeping, TrimmableLog
from raftkv.server.lease_timer import LeaseTimer, revoke_request
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.membership import MemberRecord, Membership
from raftkv.server.proposals import Batch, Fate, Proposals
from raftkv.server.reads import ReadRounds, Serve
from raftkv.server.store import Store

__all__ = ["Member", "MemberParts"]

log = logging.getLogger(__name__)

PUBLISH_INTERVAL_S = 1.0
"""How often a member that is not yet published proposes its record again."""

FLUSH_POLL_S = 0.005
"""How soon a leader whose table is full looks again."""


class Writer(TrimmableLog, Protocol):
    """What the member needs of the log writer."""

    def submit(self, work: PersistWork, callback: Callable[[], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class MemberParts:
    """What a member is made of; whoever opened them closes them after `Member.stop`."""

    node: RaftNode
    store: Store
    writer: Writer
    transport: PeerTransport
    trimmer: LogTrimmer
    life: int
    """Above every batch id of this member's earlier lives: the time, in nanoseconds."""
    read_seed: int
    """Differs between lives (62 random bits), so that no answer of an earlier one is taken."""
    on_fatal: Callable[[Exception], None]
    """Called once when the member cannot go on; it has then stopped serving."""


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
        """Called after every turn; the front end flushes its answers here."""
        self.on_ready: Callable[[], object] = lambda: None
        """Called once, when this member has published itself and so serves everything."""
        self._loop = loop
        self._writer = parts.writer
        self._on_fatal = parts.on_fatal
        self.housekeeping = Housekeeping(
            config, parts.store, parts.writer, parts.trimmer, loop.time()
        )
        timeout_s = config.request_timeout_s
        self.proposals = Proposals(self.id, parts.life, timeout_s)
        self.reads = ReadRounds(parts.read_seed, timeout_s)
        self.leases = LeaseTimer(
            parts.node,
            parts.transport,
            self._revoke_expired,
            ttl_min_s=max(1, -(-3 * round(config.election_timeout_s * 1000) // 2000)),
            confirm=self.read_barrier,
            request_timeout_s=timeout_s,
            clock=loop.time,
        )
        self.hub = WatchHub(
            parts.store,
            self._pump_watchers_soon,
            cluster_id=self.cluster_id,
            member_id=self.id,
            fragment_bytes=config.request_bytes_max + 512 * 1024,
        )
        self.hub.raft_term = parts.node.term
        self._early_election = EarlyElection(self.id, len(membership.ids))
        self._awake = False
        self._awaits_flush = False
        self._stopped = False
        self._applied_term = 0
        self._published = False
        self._next_publication = 0.0
        self._next_progress = loop.time() + config.progress_notify_interval_s
        self._tick_timer: asyncio.TimerHandle | None = None
        self._leader_waiters: list[asyncio.Future[None]] = []

    def start(self) -> None:
        """Begin to tick and to take part."""
        self.leases.take_changes(
            ("grant", lease_id, self.store.lease_ttl(lease_id))
            for lease_id in self.store.lease_ids()
        )
        self.membership.load(self.store.member_records().items())
        self._tick_timer = self._loop.call_later(self.config.heartbeat_interval_s, self._tick)
        if len(self.membership.ids) == 1:
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
        self.leases.follow()

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
        changed: asyncio.Future[None] = self._loop.create_future()
        self._leader_waiters.append(changed)
        try:
            async with asyncio.timeout(self.config.request_timeout_s):
                await changed
        except TimeoutError:
            raise StoreError(ErrorCode.TIMEOUT) from None

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
        return self.node.role is Role.LEADER

    # --- what other members and the disk say ---------------------------------------------------

    def take_messages(self, messages: Sequence[Message]) -> None:
        """Step Raft messages of other members."""
        if self._stopped:
            return
        try:
            for message in messages:
                self.node.step(message)
        except Exception as error:
            self.fail(error)
        self.wake()

    def take_forwarded(self, sender: int, data: bytes) -> None:
        """Act on a forwarded message; a malformed one is logged and dropped."""
        if self._stopped:
            return
        try:
            message = forwarding.decode(data)
            if isinstance(message, forwarding.Propose):
                self._propose_for(sender, message)
            elif isinstance(message, forwarding.Refused):
                self.proposals.refuse(message.batch_id, message.code)
            else:
                self.housekeeping.allow_trim(message.index)
        except ValueError as error:
            log.warning(
                "dropped a malformed message", extra={"peer": f"{sender:x}"}, exc_info=error
            )

    def _propose_for(self, sender: int, message: forwarding.Propose) -> None:
        """Propose another member's batch, or tell it that this certainly did not happen."""
        batch_id = read_header(message.batch)[1]
        code = ErrorCode.LEADER_CHANGED
        if message.term == self.node.term and self.is_leader:
            try:
                self.node.propose(message.batch)
                return self.wake()
            except ProposalDropped:
                code = ErrorCode.REQUEST_TOO_MANY_REQUESTS
        self.transport.forward(sender, forwarding.encode(forwarding.Refused(batch_id, code)))
        return None

    async def answer_peer(self, _sender: int, kind: str, payload: bytes) -> bytes:
        """Answer a request of another member. Raises ValueError for an unknown one."""
        return await self.leases.answer_peer(kind, payload)

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
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._awake = False
        if self._stopped:
            return
        try:
            now = self._loop.time()
            self.proposals.flush(self.node.term, now, self._propose)
            self.reads.begin(now, self._ask_read_index)
            while self.node.has_ready():
                self._handle(self.node.ready())
            self.reads.serve(self.node.applied_index)
            self.hub.publish()
        except Exception as error:
            self.fail(error)
        self.on_turn_end()

    def fail(self, error: Exception) -> None:
        """Stop for good: the disk failed or an invariant is broken."""
        if not self._stopped:
            self.stop()
            self._on_fatal(error)

    def _handle(self, ready: Ready) -> None:
        """Do what the node owes, in the order that `Ready` demands."""
        if ready.soft_state is not None:
            self._follow_leader(ready.soft_state)
        if ready.messages:
            self.transport.send(ready.messages)
        if ready.persist is not None:
            self._writer.submit(ready.persist, self._persisted)
        if ready.committed_entries:
            self._apply(ready.committed_entries)
        for state in ready.read_states:
            self.reads.confirm(state.context, state.index)

    def _follow_leader(self, state: SoftState) -> None:
        """Adapt to a new leader, role or term."""
        self.hub.raft_term = state.term
        if state.role is not Role.LEADER:
            self.leases.follow()
        if state.leader_id not in (0, self.id):
            for waiter in self._leader_waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._leader_waiters.clear()
        if state.leader_id:
            self.leader_changes += 1
            log.info(
                "leader elected" if state.leader_id != self.id else "became leader",
                extra={"leader": f"{state.leader_id:x}", "term": state.term},
            )
            self.reads.ask_again(self._loop.time(), self._ask_read_index)
            if not self._published:
                self._publish_self()
        self.wake()

    def _propose(self, batch: Batch) -> Fate:
        """Propose a batch to whoever leads in the present term."""
        leader_id = self.node.leader_id
        if leader_id == 0:
            return Fate.POSTPONED
        if leader_id == self.id:
            if self.store.table_full:
                if not self._awaits_flush:
                    self._awaits_flush = True
                    self._loop.call_later(FLUSH_POLL_S, self._retry_after_flush)
                return Fate.POSTPONED
            try:
                self.node.propose(batch.data)
            except (NotLeader, ProposalDropped):
                return Fate.POSTPONED
            return Fate.PROPOSED
        message = forwarding.encode(forwarding.Propose(batch.term, batch.data))
        return Fate.PROPOSED if self.transport.forward(leader_id, message) else Fate.POSTPONED

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

    # --- apply -----------------------------------------------------------------------------------

    def _apply(self, entries: Sequence[Entry]) -> None:
        """Apply committed entries in order and answer the clients that wait here."""
        for entry in entries:
            if entry.term != self._applied_term:
                self._applied_term = entry.term
                self.proposals.settle(entry.term)
            if entry.kind is EntryKind.NORMAL:
                self._apply_batch(entry)
            else:
                self.store.apply_empty(entry.index, entry.term)
        self.leases.take_changes(self.store.take_lease_changes())
        self.store.maybe_flush()
        self.node.applied(entries[-1].index)
        self.housekeeping.applied(entries[-1].index)
        if (
            self._applied_term == self.node.term
            and self.is_leader
            and not self.leases.lessor.is_primary
        ):
            self.leases.lead(self.config.election_timeout_s)

    def _apply_batch(self, entry: Entry) -> None:
        origin, batch_id, _, kind = read_header(entry.data)
        batch = self.proposals.take(batch_id) if origin == self.id else None
        if kind == CommandKind.COMPACTION:
            self.hub.publish()  # synced watchers must see what is compacted now
        elif kind == CommandKind.MEMBER_RECORD:
            self._apply_records(entry.data)
        results = self.store.apply(entry.index, entry.term, entry.data, batch is not None)
        if batch is not None and results is not None:
            answer(batch.waiters, results, ERRORS)

    def _apply_records(self, data: bytes) -> None:
        for _, payload in read_commands(data):
            record = MemberRecord.decode(payload)
            self.store.put_member_record(record.key, payload)
            self.membership.publish(record)
            if record.id == self.id and not self._published:
                self._published = True
                log.info("published member", extra={"member": f"{self.id:x}"})
                self.on_ready()

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
        ):
            self.node.campaign()
        self.proposals.expire(now, self._timeout_code())
        self.reads.tick(now, self._ask_read_index)
        self.leases.tick(now)
        if not self._published and now >= self._next_publication:
            self._publish_self()
        if now >= self._next_progress:
            self._next_progress = now + self.config.progress_notify_interval_s
            self.hub.notify_progress()
        self._keep_house(now)

    def _keep_house(self, now: float) -> None:
        """Keep log and history bounded; as the leader, tell followers and compact by schedule."""
        revision = self.housekeeping.tick(now)
        if not self.is_leader:
            return
        for peer_id, index in self.housekeeping.tell_followers(self.node.status()):
            self.transport.forward(peer_id, forwarding.encode(forwarding.Trim(index)))
        if revision:
            log.info("compacting by schedule", extra={"revision": revision})
            request = pb.CompactionRequest(revision=revision).SerializeToString()
            self.propose(CommandKind.COMPACTION, request, NobodyWaits())

    def _timeout_code(self) -> ErrorCode:
        """What to tell clients whose batch was proposed and not heard of again."""
        leader_id = self.node.leader_id
        if leader_id == 0:
            return ErrorCode.TIMEOUT_DUE_TO_LEADER_FAIL
        if leader_id != self.id and not self.transport.is_connected(leader_id):
            return ErrorCode.TIMEOUT_DUE_TO_CONNECTION_LOST
        return ErrorCode.TIMEOUT

    def _publish_self(self) -> None:
        """Propose this member's record, if somebody leads."""
        if not self.node.leader_id:
            return
        self._next_publication = self._loop.time() + PUBLISH_INTERVAL_S
        record = MemberRecord(
            self.id,
            self.config.name,
            self.membership[self.id].peer_urls,
            self.config.advertise_client_urls,
        )
        self.propose(CommandKind.MEMBER_RECORD, record.encode(), NobodyWaits())

    def _revoke_expired(self, lease_ids: list[int]) -> None:
        """Revoke leases as the leader of this term, or not at all: they are offered again.

        Not by way of `propose`, which sends to whoever leads: a member that was paused and has not
        heard of its successor would have leases revoked that live by the successor's clock.
        """
        batch = CommandBatch()
        for lease_id in lease_ids:
            batch.add(CommandKind.LEASE_REVOKE, revoke_request(lease_id), NobodyWaits())
        with suppress(NotLeader, ProposalDropped):
            self.node.propose(batch.seal(self.id, self.proposals.take_id()))
        self.wake()

    # --- background work -------------------------------------------------------------------------

    def _pump_watchers_soon(self) -> None:
        self._loop.call_soon(self._pump_watchers)

    def _pump_watchers(self) -> None:
        if not self._stopped and self.hub.pump():
            self._loop.call_soon(self._pump_watchers)


def _pass(waiter: Waiter, _request: bytes) -> None:
    waiter.reply(b"")
