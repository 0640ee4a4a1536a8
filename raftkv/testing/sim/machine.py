"""One member as a process on a machine: what starts, crashes, pauses and starts again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from raftkv._native.mvcc_store import MvccStore
from raftkv.config import ClusterConfig, Config, Endpoint
from raftkv.peer.transport import PeerTransport
from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.log import must_reset
from raftkv.raft.messages import Entry, Message, SnapshotMetadata
from raftkv.raft.node import RaftNode
from raftkv.raft.ready import Ready
from raftkv.rpc.kv import KvService
from raftkv.rpc.lease import LeaseService
from raftkv.server.identity import member_id_of
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.member import Member, MemberParts, MemberRemoved
from raftkv.server.membership import MemberRecord, Membership, stored_configuration
from raftkv.testing.sim.disk import SimulatedDisk, SimulatedFlushPool, SimulatedWriter
from raftkv.testing.sim.loop import MemberLoop
from raftkv.testing.sim.network import SimulatedNetwork
from raftkv.testing.sim.plan import Plan
from raftkv.testing.sim.promises import check_promise
from raftkv.testing.sim.scheduler import MS, Scheduler
from raftkv.testing.sim.snapshot_disk import SnapshotDisk
from raftkv.testing.sim.trace import Trace
from raftkv.testing.sim.transport import SimulatedTransport

__all__ = ["Eyes", "Machine", "founding_cluster", "new_record", "simulated_config"]

MAP_SIZE = 1 << 26
"""Address space of one member's state; runs are short."""

RESTART_US = 500 * MS
"""How long a process that ended by itself stays down."""


TOKEN = "simulated"


def peer_url_of(number: int) -> str:
    """Return where a member is reached by the others."""
    return f"http://10.0.0.{number + 1}:2380"


def founding_cluster(plan: Plan) -> ClusterConfig:
    """Return the members that every cluster begins with."""
    urls = {f"m{number}": (peer_url_of(number),) for number in range(plan.members)}
    return ClusterConfig(urls, TOKEN, existing=False)


def simulated_config(plan: Plan, number: int, directory: Path) -> Config:
    """Return the configuration of one member, of those at the beginning or of a later one."""
    cluster = founding_cluster(plan)
    peer_url = peer_url_of(number)
    if number >= plan.members:
        urls = {**cluster.members, f"m{number}": (peer_url,)}
        cluster = ClusterConfig(urls, TOKEN, existing=True)
    return Config(
        name=f"m{number}",
        data_dir=directory,
        listen_client=(),
        advertise_client_urls=(peer_url.replace("2380", "2379"),),
        listen_peer=Endpoint(peer_url, f"10.0.0.{number + 1}", 2380),
        listen_metrics=(),
        cluster=cluster,
        election_ticks=plan.election_ticks,
        snapshot_count=plan.snapshot_count,
        snapshot_catchup_entries=plan.snapshot_count,
        progress_notify_interval_s=2.0,
        pre_vote=plan.pre_vote,
        corrupt_check_s=plan.corrupt_check_s,
    )


def new_record(number: int) -> MemberRecord:
    """Return the record by which a later member is added; ids are never used twice."""
    urls = (peer_url_of(number),)
    return MemberRecord(member_id_of(urls, f"{TOKEN}{number}"), "", urls, ())


class ObservedNode(RaftNode):
    """The real node; tells what it hands out for applying."""

    on_committed: Callable[[Entry], None]
    on_installing: Callable[[SnapshotMetadata], None]
    on_configured: Callable[[int, Configuration], None]

    def apply_configuration(self, entry: Entry) -> Configuration:
        """Let a change take effect, and tell the checker what became of it."""
        configuration = super().apply_configuration(entry)
        self.on_configured(entry.index, configuration)
        return configuration

    def ready(self) -> Ready:
        """Return what the node owes, having told the checker of committed entries."""
        ready = super().ready()
        if ready.snapshot is not None:
            self.on_installing(ready.snapshot)
        for entry in ready.committed_entries:
            self.on_committed(entry)
        return ready

    def commit_at_once(self, message: Message) -> tuple[Entry, ...] | None:
        """Return what an answer lets be applied, having told the checker of it."""
        entries = super().commit_at_once(message)
        for entry in entries or ():
            self.on_committed(entry)
        return entries


class Eyes(Protocol):
    """What the checkers are told of a member."""

    def after_event(self, machine: Machine, /) -> None: ...
    def applying(self, machine: Machine, entry: Entry, /) -> None: ...
    def configured(self, machine: Machine, index: int, to: Configuration, /) -> None: ...
    def installing(self, machine: Machine, snapshot: SnapshotMetadata, /) -> None: ...
    def exposed(self, machine: Machine, microseconds: int, /) -> None: ...


class Machine:
    """A member's process, and its disk, which outlives it."""

    def __init__(
        self,
        plan: Plan,
        number: int,
        directory: Path,
        scheduler: Scheduler,
        network: SimulatedNetwork,
        trace: Trace,
        *,
        find: Callable[[int], SimulatedTransport | None],
        eyes: Eyes,
    ) -> None:
        """`find` returns the transport of a member that runs."""
        self.plan = plan
        self.number = number
        self.name = f"m{number}"
        self.config = simulated_config(plan, number, directory)
        self.cluster = Membership(founding_cluster(plan))
        """What the member knew of its cluster when it was made."""
        self.is_founder = number < plan.members
        self.id = self.cluster.id_of_name[self.name] if self.is_founder else new_record(number).id
        self.has_identity = self.is_founder
        """Whether it has begun to exist; a later member has to be let in before."""
        self.is_gone = False
        """Whether it has learned that it is a member no more."""
        self.disk = SimulatedDisk(
            scheduler,
            directory,
            random.Random(f"{plan.seed} disk {number}"),
            sync_us_max=plan.sync_us_max,
            flush_us_max=plan.flush_us_max,
            may_end=bool(plan.faults),
        )
        self.life = 0
        self.is_up = False
        self.rate = plan.rates[number] if self.is_founder else 1.0
        self.seen: tuple[object, ...] = ()
        """What the node looked like when the checker last looked."""
        self.applied_index = 0
        self.on_end: Callable[[], None] = lambda: None
        """Called when the process ends, in whatever way."""
        self._scheduler = scheduler
        self._network = network
        self._trace = trace
        self._find = find
        self._eyes = eyes

    def note(self, what: str) -> None:
        """Write to the trace in this machine's name."""
        self._trace.note(self._scheduler.now_us, self.name, what)

    @property
    def may_start(self) -> bool:
        """Whether whoever keeps the process would start it."""
        return not self.is_up and self.has_identity and not self.is_gone

    def join(self, found: Membership) -> None:
        """Write down what another member said of the cluster that this one is to join."""
        self.cluster = Membership.of(found.cluster_id, found.list())
        self.has_identity = True

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process from what the disk holds."""
        assert self.may_start, "the process runs already, or never may"
        self.life += 1
        self.loop = MemberLoop(
            self._scheduler, rate=self.rate, after_event=lambda: self._eyes.after_event(self)
        )
        self.loop.on_process_end = lambda: self._end_life(self.life)
        self.pool = SimulatedFlushPool(self.disk)
        self.loop.threads = self.incoming = SnapshotDisk(
            self.disk, lambda us: self._eyes.exposed(self, us)
        )
        self.member = self.loop.enter(self._open)
        self.kv = KvService(self.member)
        self.leases = LeaseService(self.member)
        self.applied_index = self.member.store.applied_index
        self.seen = ()
        self.is_up = True
        self._network.rise(self.id)
        self.note(
            f"starts life {self.life}: applied {self.applied_index},"
            f" log {self.disk.log.first_index}..{self.disk.log.last_index}"
        )
        self.loop.call_soon(self.member.start)
        self.loop.call_soon(self.transport.greet)

    def _open(self) -> Member:
        """Put a member together as `server.bootstrap` does, on simulated parts."""
        config = self.config
        membership = Membership.of(self.cluster.cluster_id, self.cluster.list())
        first = Configuration(membership.ids) if self.is_founder else Configuration()
        store = MvccStore(
            str(self.disk.directory),
            cluster_id=membership.cluster_id,
            member_id=self.id,
            map_size=MAP_SIZE,
            table_bytes_max=self.plan.table_bytes_max,
            flush_pool=self.pool,
        )
        self.store = store
        if must_reset(self.disk.log, store.applied_index, store.applied_term):
            self.disk.log.reset(store.applied_index, store.applied_term)
        rows = store.member_records()
        membership.load(rows)
        dice = random.Random(f"{self.plan.seed} raft {self.number} {self.life}")
        self.node = node = ObservedNode(
            self._raft_config(),
            stored_configuration(rows) or first,
            self.disk.log,
            self.disk.log.hard_state(),
            store.applied_index,
            dice,
        )
        node.on_committed = lambda entry: self._eyes.applying(self, entry)
        node.on_configured = lambda index, to: self._eyes.configured(self, index, to)
        node.on_installing = lambda snapshot: self._eyes.installing(self, snapshot)
        self.writer = SimulatedWriter(self.disk, self.loop, self._failed)
        self.transport = SimulatedTransport(
            self.id,
            self.life,
            self.loop,
            self._network,
            self._find,
            membership.ids,
            self.note,
            on_messages=self._take_messages,
            on_forward=lambda sender, data: self.member.take_forwarded(sender, data),
            on_request=lambda sender, kind, data: self.member.answer_peer(sender, kind, data),
            on_unreachable=lambda peer_id: self.member.report_unreachable(peer_id),
            on_removed=lambda: self.member.learn_of_removal(),
            was_removed=membership.was_removed,
            own_url=lambda: membership.peer_url(self.id),
            on_stranger=lambda peer_id, url: self.member.cluster.admit(peer_id, url),
        )
        self.transport.on_send = lambda message: check_promise(message, node, self.disk.log)
        parts = MemberParts(
            node,
            store,
            self.writer,
            cast(PeerTransport, self.transport),
            LogTrimmer(self.disk.log.first_index, config.snapshot_catchup_entries),
            life=self.life << 32,
            read_seed=dice.getrandbits(62),
            on_fatal=self._failed,
        )
        member = Member(config, membership, parts)
        member.snapshots.chunk_bytes = self.plan.chunk_bytes
        return member

    def _take_messages(self, messages: list[Message]) -> None:
        """Each message is a read of its own."""
        self.member.take_alone(messages)

    def _raft_config(self) -> RaftConfig:
        bounds: dict[str, Any] = {}
        if self.plan.entries_per_append_max:
            bounds = {
                "entries_per_append_max": self.plan.entries_per_append_max,
                "inflight_appends_max": 4,
                "append_bytes_max": 512,
                "committed_bytes_max": 1024,
                "cache_bytes_max": 2048,
            }
        if self.plan.entries_per_append_max > 1:
            bounds["catch_up_bytes_per_tick"] = 256
        return RaftConfig(
            id=self.id,
            election_timeout_ticks=self.config.election_ticks,
            pre_vote=self.config.pre_vote,
            **bounds,
        )

    def _failed(self, error: Exception) -> None:
        """The member cannot go on: its process ends, and is started again by whoever keeps it."""
        self.note(f"fails: {str(error) or type(error).__name__}")
        if isinstance(error, MemberRemoved):
            self.is_gone = True
        elif not isinstance(error, OSError):
            raise error
        life = self.life
        self._scheduler.later(0, self._end_life, life)

    def _end_life(self, life: int) -> None:
        if self.is_up and self.life == life:
            self.crash()
            if self.may_start:
                self._scheduler.later(RESTART_US, self._start_again, life)

    def _start_again(self, life: int) -> None:
        if self.may_start and self.life == life:
            self.start()

    def crash(self) -> None:
        """End the process as SIGKILL and a power cut would: only what was synced is left."""
        assert self.is_up, "the process does not run"
        self.note("crashes")
        self.is_up = False
        self.writer.crash()
        self.pool.crash()
        self.incoming.crash(self.member.received._writer)
        self.loop.close()
        self.store.close()
        self._network.fall(self.id)
        self.on_end()

    def pause(self) -> None:
        """Stop the process for a while."""
        self.note("is paused")
        self.loop.pause()

    def resume(self) -> None:
        """Let a paused process go on."""
        self.note("goes on")
        self.loop.resume()

    def set_rate(self, rate: float) -> None:
        """Change the speed of the machine's clock."""
        self.note(f"clock runs at {rate:.3f}")
        self.rate = rate
        if self.is_up:
            self.loop.set_rate(rate)
