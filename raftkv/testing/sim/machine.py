"""One member as a process on a machine: what starts, crashes, pauses and starts again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from raftkv._native.mvcc_store import MvccStore
from raftkv.config import ClusterConfig, Config, Endpoint
from raftkv.peer.transport import PeerTransport
from raftkv.raft.config import RaftConfig
from raftkv.raft.configuration import Configuration
from raftkv.raft.log import must_reset
from raftkv.raft.messages import Entry
from raftkv.raft.node import RaftNode
from raftkv.raft.ready import Ready
from raftkv.rpc.kv import KvService
from raftkv.rpc.lease import LeaseService
from raftkv.server.log_trimmer import LogTrimmer
from raftkv.server.member import Member, MemberParts
from raftkv.server.membership import Membership, stored_configuration
from raftkv.testing.sim.disk import SimulatedDisk, SimulatedFlushPool, SimulatedWriter
from raftkv.testing.sim.loop import MemberLoop
from raftkv.testing.sim.network import SimulatedNetwork
from raftkv.testing.sim.plan import Plan
from raftkv.testing.sim.scheduler import MS, Scheduler
from raftkv.testing.sim.trace import Trace
from raftkv.testing.sim.transport import SimulatedTransport

__all__ = ["Machine", "member_names", "simulated_config"]

MAP_SIZE = 1 << 26
"""Address space of one member's state; runs are short."""

RESTART_US = 500 * MS
"""How long a process that ended by itself stays down."""


def member_names(members: int) -> list[str]:
    """Return the names of a cluster's members."""
    return [f"m{number}" for number in range(members)]


def simulated_config(plan: Plan, number: int, directory: Path) -> Config:
    """Return the configuration of one member."""
    names = member_names(plan.members)
    urls = {name: (f"http://10.0.0.{place}:2380",) for place, name in enumerate(names, 1)}
    peer_url = urls[names[number]][0]
    return Config(
        name=names[number],
        data_dir=directory,
        listen_client=(),
        advertise_client_urls=(peer_url.replace("2380", "2379"),),
        listen_peer=Endpoint(peer_url, f"10.0.0.{number + 1}", 2380),
        listen_metrics=(),
        cluster=ClusterConfig(urls, "simulated", existing=False),
        election_ticks=plan.election_ticks,
        snapshot_count=plan.snapshot_count,
        snapshot_catchup_entries=plan.snapshot_count,
        progress_notify_interval_s=2.0,
        pre_vote=plan.pre_vote,
    )


class ObservedNode(RaftNode):
    """The real node; tells what it hands out for applying."""

    on_committed: Callable[[Entry], None]
    on_installing: Callable[[int], None]

    def ready(self) -> Ready:
        """Return what the node owes, having told the checker of committed entries."""
        ready = super().ready()
        if ready.snapshot is not None:
            self.on_installing(ready.snapshot.index)
        for entry in ready.committed_entries:
            self.on_committed(entry)
        return ready


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
        after_event: Callable[[Machine], None],
        on_applying: Callable[[Machine, Entry], None],
    ) -> None:
        """`after_event` and `on_applying` are the checkers' eyes."""
        self.plan = plan
        self.number = number
        self.name = f"m{number}"
        self.config = simulated_config(plan, number, directory)
        self.id = Membership(self.config.cluster).id_of_name[self.name]
        self.disk = SimulatedDisk(
            scheduler,
            directory,
            random.Random(f"{plan.seed} disk {number}"),
            sync_us_max=plan.sync_us_max,
            flush_us_max=plan.flush_us_max,
        )
        self.life = 0
        self.is_up = False
        self.rate = plan.rates[number]
        self.seen: tuple[object, ...] = ()
        """What the node looked like when the checker last looked."""
        self.applied_index = 0
        self.on_end: Callable[[], None] = lambda: None
        """Called when the process ends, in whatever way."""
        self.wanted = True
        """Whether it starts again by itself when it ended by itself."""
        self._scheduler = scheduler
        self._network = network
        self._trace = trace
        self._find = find
        self._after_event = after_event
        self._on_applying = on_applying

    def note(self, what: str) -> None:
        """Write to the trace in this machine's name."""
        self._trace.note(self._scheduler.now_us, self.name, what)

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process from what the disk holds."""
        assert not self.is_up, "the process runs already"
        self.life += 1
        self.loop = MemberLoop(
            self._scheduler, rate=self.rate, after_event=lambda: self._after_event(self)
        )
        self.pool = SimulatedFlushPool(self.disk)
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

    def _open(self) -> Member:
        """Put a member together as `server.bootstrap` does, on simulated parts."""
        config = self.config
        membership = Membership(config.cluster)
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
            stored_configuration(rows) or Configuration(membership.ids),
            self.disk.log,
            self.disk.log.hard_state(),
            store.applied_index,
            dice,
        )
        node.on_committed = lambda entry: self._on_applying(self, entry)
        node.on_installing = self._installing
        self.writer = SimulatedWriter(self.disk, self.loop, self._failed)
        self.transport = SimulatedTransport(
            self.id,
            self.life,
            self.loop,
            self._network,
            self._find,
            membership.ids,
            self.note,
            on_messages=lambda messages: self.member.take_messages(messages),
            on_forward=lambda sender, data: self.member.take_forwarded(sender, data),
            on_request=lambda sender, kind, data: self.member.answer_peer(sender, kind, data),
            on_unreachable=lambda peer_id: self.member.report_unreachable(peer_id),
        )
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
        return Member(config, membership, parts)

    def _installing(self, index: int) -> None:
        self.note(f"installs a snapshot at {index}")
        self.applied_index = index

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
        return RaftConfig(
            id=self.id,
            election_timeout_ticks=self.config.election_ticks,
            pre_vote=self.config.pre_vote,
            **bounds,
        )

    def _failed(self, error: Exception) -> None:
        """The member cannot go on: its process ends, and is started again by whoever keeps it."""
        self.note(f"fails: {error}")
        if not isinstance(error, OSError):
            raise error
        life = self.life
        self._scheduler.later(0, self._end_life, life)

    def _end_life(self, life: int) -> None:
        if self.is_up and self.life == life:
            self.crash()
            if self.wanted:
                self._scheduler.later(RESTART_US, self._start_again, life)

    def _start_again(self, life: int) -> None:
        if not self.is_up and self.life == life:
            self.start()

    def crash(self) -> None:
        """End the process as SIGKILL and a power cut would: only what was synced is left."""
        assert self.is_up, "the process does not run"
        self.note("crashes")
        self.is_up = False
        self.writer.crash()
        self.pool.crash()
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
