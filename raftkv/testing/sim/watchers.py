"""Watching clients: each follows one range through crashes and writes down what it was told."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from raftkv.pb.etcd import kv_pb2, rpc_pb2
from raftkv.rpc.watch import WatchCall
from raftkv.testing.history import WatchStream
from raftkv.testing.sim.machine import Machine
from raftkv.testing.sim.scheduler import MS, SECOND, Scheduler, SimulatedHandle

__all__ = ["Told", "Watching", "WatchingClient"]

SILENCE_US = 4 * SECOND
"""When a client that heard nothing asks for progress; unanswered, it goes elsewhere."""

FULL_BYTES = 2 << 20
"""What a stream that does not read says it has pending: beyond the hub's budget."""


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that a watcher was told, in order."""

    what: str
    """from (a revision, where it begins), event, progress or compacted."""
    revision: int
    event: kv_pb2.Event | None = None


@dataclass(slots=True)
class Watching:
    """What one client watches and what it was told."""

    key: bytes
    range_end: bytes
    prev_kv: bool
    told: list[Told] = field(default_factory=list)


class _Sink:
    """The stream between a member's hub and the client: in order, late, and sometimes not read."""

    metadata: tuple[()] = ()

    def __init__(self, client: WatchingClient) -> None:
        self._client = client
        self.pending_bytes = 0
        self.closed = False
        self.on_drained: Callable[[], object] = lambda: None

    def send(self, head: bytes, tail: bytes | None = None) -> None:
        assert not self.closed, "sent on a closed stream"
        self._client.deliver(self, head + (tail or b""))

    def finish(self, *_status: object) -> None:
        self.closed = True


class WatchingClient:
    """Watches one range from now on; goes on where it stopped when the member is lost."""

    def __init__(
        self,
        number: int,
        seed: int,
        scheduler: Scheduler,
        machines: list[Machine],
        watching: Watching,
    ) -> None:
        self.number = number
        self.watching = watching
        self._dice = random.Random(f"{seed} watcher {number}")
        self._scheduler = scheduler
        self._machines = machines
        self._machine = machines[number % len(machines)]
        self.streams: list[WatchStream] = []
        """All that was received, connection by connection."""
        self._life = 0
        self._sink: _Sink | None = None
        self._call: WatchCall | None = None
        self._next_revision = 0
        """Where to go on; 0 before the first answer."""
        self._last_delivery_us = 0
        self._heard_us = 0
        self._asked_progress = False
        scheduler.later(1 + self._dice.randrange(SECOND), self._open)
        scheduler.later(SILENCE_US, self._listen)
        scheduler.later(SECOND, self._stall)

    @property
    def next_revision(self) -> int:
        """The first revision that was not yet told of, as far as the client knows."""
        return self._next_revision

    # --- the stream ------------------------------------------------------------------------------

    def _open(self) -> None:
        machine = self._machines[self._dice.randrange(len(self._machines))]
        if not machine.is_up:
            self._scheduler.later(50 * MS, self._open)
            return
        self._machine, self._life = machine, machine.life
        self._heard_us = self._scheduler.now_us
        self._asked_progress = False
        sink = self._sink = _Sink(self)
        request = rpc_pb2.WatchCreateRequest(
            key=self.watching.key,
            range_end=self.watching.range_end,
            start_revision=self._next_revision,
            prev_kv=self.watching.prev_kv,
            progress_notify=True,
        )
        self.streams.append(WatchStream(self.number, request, endpoint=machine.id))
        create = rpc_pb2.WatchRequest(create_request=request)
        self._do(lambda: self._create(machine, sink, create.SerializeToString()))

    def _create(self, machine: Machine, sink: _Sink, create: bytes) -> None:
        if self._sink is sink:
            self._call = WatchCall(sink, machine.member.hub.open(sink), set())  # type: ignore[arg-type]
            self._call.on_message(create)

    def _do(self, action: object) -> None:
        """Have something done on the member's loop after the way there."""
        machine, life = self._machine, self._life

        def arrive() -> None:
            if machine.is_up and machine.life == life:
                handle = SimulatedHandle(machine.loop, action, ())  # type: ignore[arg-type]
                self._scheduler.put(self._scheduler.now_us, handle)

        self._scheduler.later(1 + self._dice.randrange(2 * MS), arrive)

    def member_ended(self, machine: Machine) -> None:
        """The process on the other side has ended."""
        if self._sink is not None and machine is self._machine:
            self._drop()

    def _drop(self) -> None:
        """Leave the stream and open another one soon."""
        if self._sink is not None:
            self._sink.closed = self._sink.closed or not self._machine.is_up
        call, self._call, self._sink = self._call, None, None
        if call is not None:
            self._do(call.on_closed)
        self._scheduler.later(1 + self._dice.randrange(200 * MS), self._open)

    def _listen(self) -> None:
        """Ask for progress after a silence; leave after a longer one."""
        self._scheduler.later(SILENCE_US // 2, self._listen)
        silent_us = self._scheduler.now_us - self._heard_us
        if self._call is None or silent_us < SILENCE_US:
            return
        if self._asked_progress:
            self._drop()
            return
        self._asked_progress = True
        request = rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())
        call = self._call
        self._do(lambda: call.on_message(request.SerializeToString()))

    def _stall(self) -> None:
        """Now and then do not read for a while."""
        self._scheduler.later(SECOND + self._dice.randrange(4 * SECOND), self._stall)
        sink = self._sink
        if sink is None or sink.pending_bytes or self._dice.random() < 0.5:
            return
        sink.pending_bytes = FULL_BYTES
        self._scheduler.later(self._dice.randrange(600 * MS), self._read_on, sink)

    def _read_on(self, sink: _Sink) -> None:
        sink.pending_bytes = 0
        if self._sink is sink and self._machine.is_up:
            self._do(lambda: sink.closed or sink.on_drained())

    # --- what is told ----------------------------------------------------------------------------

    def deliver(self, sink: _Sink, message: bytes) -> None:
        """Bring a response to the client, after all that was sent before."""
        at = max(self._last_delivery_us, self._scheduler.now_us + 1 + self._dice.randrange(2 * MS))
        self._last_delivery_us = at
        self._scheduler.later(at - self._scheduler.now_us, self._take, sink, message)

    def _take(self, sink: _Sink, message: bytes) -> None:
        if sink is not self._sink:
            return
        self._heard_us = self._scheduler.now_us
        self._asked_progress = False
        response = rpc_pb2.WatchResponse.FromString(message)
        self.streams[-1].responses.append((self._scheduler.now_us / SECOND, response))
        told = self.watching.told
        if response.canceled:
            assert response.compact_revision, f"a watch was cancelled: {response.cancel_reason}"
            told.append(Told("compacted", response.compact_revision))
            self._next_revision = response.compact_revision
            self._drop()
        elif response.created:
            if not self._next_revision:
                self._next_revision = response.header.revision + 1
                told.append(Told("from", self._next_revision))
        elif response.events:
            for event in response.events:
                told.append(Told("event", event.kv.mod_revision, event))
            self._next_revision = response.events[-1].kv.mod_revision + 1
        else:
            told.append(Told("progress", response.header.revision))
            self._next_revision = max(self._next_revision, response.header.revision + 1)
