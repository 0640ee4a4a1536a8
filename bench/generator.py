"""The load generator: what to send, where, how; and what came of it.

`measure` runs one `Plan`. The work is native (`bench.native.load`): one thread, or several, each
with its own connections, while the GIL is released.
"""

from __future__ import annotations

import math
import socket
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench.native.histogram import Histogram
from bench.native.load import TRANSPORT, Load
from bench.operation import Operation, watch_stream
from raftkv.pb.etcd import rpc_pb2

OPEN_TIMEOUT_S = 60.0
REFUSAL_CODES = (2, 8)
"""UNKNOWN and RESOURCE_EXHAUSTED: how etcd refuses when it is behind, by version."""
REFUSAL_TEXT = "too many requests"
DRAIN_S = 10.0
SEED = 20_261_123


@dataclass(frozen=True, slots=True)
class Watches:
    """Watches beside the load: `streams` × `per_stream`, the streams on `connections` in turn."""

    creates: Sequence[rpc_pb2.WatchCreateRequest]
    """Asked for in turn, until all watches have one."""
    connections: int
    streams: int
    per_stream: int
    hear_every_put: bool
    """Each put is an event for each watch: the run ends when all have come."""

    @property
    def count(self) -> int:
        return self.streams * self.per_stream


@dataclass(frozen=True, slots=True)
class Plan:
    """One measurement; `duration_s` or `count` ends it."""

    endpoints: Sequence[str]
    """host:port; connections go to them in turn."""
    operations: Sequence[Operation]
    connections: int = 1
    streams: int = 1
    """Calls under way on each connection: all the time, or at most, where there is a `rate`."""
    space: int = 1_000_000
    order: str = "uniform"
    stride: int = 1
    start: int = 0
    """The first number of the order "sequential"."""
    duration_s: float = 0.0
    warm_up_s: float = 0.0
    count: int = 0
    rate: float = 0.0
    """Requests a second, due at even distances (open loop); 0: closed loop."""
    watches: Watches | None = None
    undelivered_max: int = 0
    threads: int = 1
    seed: int = SEED
    drain_s: float = DRAIN_S


@dataclass(slots=True)
class Outcome:
    """What came of a plan; counts are of all threads and operations together."""

    issued: int = 0
    completed: int = 0
    """Answered with OK, the warm-up included."""
    recorded: int = 0
    """Of them, those that `rate` and `latencies` are about."""
    refused: int = 0
    keys: int = 0
    answer_bytes: int = 0
    request_bytes: int = 0
    errors: dict[int, int] = field(default_factory=dict)
    """gRPC code -> calls; `bench.native.load.TRANSPORT`: lost, reset or never answered."""
    error_text: str = ""
    unissued: int = 0
    watches_lost: int = 0
    window_s: float = 0.0
    revision: int = 0
    latencies: Histogram = field(default_factory=Histogram)
    by_operation: dict[str, int] = field(default_factory=dict)
    deliveries: int = 0
    deliveries_in_window: int = 0
    delivery_latencies: Histogram = field(default_factory=Histogram)
    previous: int = 0
    """Events that came with the key's previous value."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.recorded / self.window_s if self.window_s else 0.0

    @property
    def delivery_rate(self) -> float:
        return self.deliveries_in_window / self.window_s if self.window_s else 0.0

    @property
    def failed(self) -> int:
        return sum(self.errors.values()) + self.unissued + self.watches_lost

    @property
    def refusals(self) -> int:
        """Requests that the server refused because it was behind."""
        if REFUSAL_TEXT not in self.error_text:
            return 0
        return sum(self.errors.get(code, 0) for code in REFUSAL_CODES)

    def quantile_ms(self, fraction: float) -> float:
        """Return the milliseconds within which `fraction` of the requests were answered.

        A refusal is no answer: where too many are refused, it is infinite. Refusals of the warm-up
        count, which makes it larger at most.
        """
        answered = self.latencies.total
        wanted = fraction * (answered + self.refusals)
        return self.latencies.quantile(wanted / answered) / 1e6 if wanted <= answered else math.inf

    def raise_for_errors(self, *, refusals: bool = False) -> None:
        """Raise RuntimeError unless everything that was asked was answered, or refused where
        refusals are expected."""
        if self.failed > (self.refusals if refusals else 0):
            raise RuntimeError(
                f"{self.failed} of {self.issued + self.unissued} requests failed"
                f" ({self.error_text or 'no text'}): {self.errors}, never sent: {self.unissued},"
                f" watches cancelled: {self.watches_lost};"
                f" code {TRANSPORT} is a lost connection or no answer"
            )


def connect(endpoint: str) -> socket.socket:
    """Connect a socket as the generator wants it; its owner closes it."""
    host, _, port = endpoint.rpartition(":")
    connected = socket.create_connection((host.strip("[]"), int(port)), timeout=OPEN_TIMEOUT_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setblocking(False)
    return connected


def watch_requests(watches: Watches) -> list[bytes]:
    """Frame what each stream of watches opens with."""
    creates = watches.creates
    return [
        watch_stream(
            [
                creates[(s * watches.per_stream + w) % len(creates)]
                for w in range(watches.per_stream)
            ]
        )
        for s in range(watches.streams)
    ]


class Session:
    """A plan whose connections and watches are open; `run` measures it, once."""

    def __init__(self, plan: Plan, table: array[int] | None) -> None:
        self.plan = plan
        self.table = table if table is not None else array("q")
        self.sockets = ExitStack()
        self.loads: list[Load] = []
        if not 1 <= plan.threads <= max(1, plan.connections):
            raise ValueError("every thread has a connection")
        if plan.watches and plan.threads > 1:
            raise ValueError("watches and what they hear of belong to one thread")

    def open(self) -> None:
        try:
            for thread in range(self.plan.threads):
                self._open_thread(thread)
        except BaseException:
            self.close()
            raise

    def _open_thread(self, thread: int) -> None:
        plan = self.plan
        own = range(thread, plan.connections, plan.threads)
        watches = plan.watches
        sockets = [self._connect(number) for number in own]
        watch_sockets = [self._connect(n) for n in range(watches.connections)] if watches else []
        load = Load(
            [connected.fileno() for connected in sockets],
            plan.streams,
            plan.operations,
            order=plan.order,
            space=plan.space,
            stride=plan.stride,
            start=plan.start,
            seed=plan.seed + thread,
            rate=plan.rate / plan.threads,
            table=self.table,
            watch_fds=[connected.fileno() for connected in watch_sockets],
            watch_requests=watch_requests(watches) if watches else [],
            events_per_put=watches.count if watches and watches.hear_every_put else 0,
            undelivered_max=plan.undelivered_max,
        )
        self.loads.append(load)
        load.open(watches.count if watches else 0, OPEN_TIMEOUT_S)

    def _connect(self, number: int) -> socket.socket:
        endpoints = self.plan.endpoints
        return self.sockets.enter_context(connect(endpoints[number % len(endpoints)]))

    def run(self) -> Outcome:
        plan = self.plan
        count = -(-plan.count // plan.threads)
        threads = [
            threading.Thread(
                target=load.run, args=(plan.duration_s, plan.warm_up_s, count, plan.drain_s)
            )
            for load in self.loads[1:]
        ]
        for thread in threads:
            thread.start()
        try:
            self.loads[0].run(plan.duration_s, plan.warm_up_s, count, plan.drain_s)
        finally:
            for thread in threads:
                thread.join()
        return self._outcome()

    def _outcome(self) -> Outcome:
        outcome = Outcome()
        for load in self.loads:
            for number, operation in enumerate(self.plan.operations):
                tally = load.tally(number)
                outcome.issued += tally["issued"]
                outcome.completed += tally["completed"]
                outcome.recorded += tally["recorded"]
                outcome.refused += tally["refused"]
                outcome.keys += tally["keys"]
                outcome.answer_bytes += tally["answer_bytes"]
                outcome.request_bytes += tally["request_bytes"]
                done = outcome.by_operation.get(operation.name, 0)
                outcome.by_operation[operation.name] = done + tally["completed"]
                for code, times in load.errors(number).items():
                    outcome.errors[code] = outcome.errors.get(code, 0) + times
                outcome.latencies.merge(load.latencies(number))
            outcome.error_text = outcome.error_text or load.error_text
            outcome.unissued += load.unissued
            outcome.window_s = max(outcome.window_s, load.window_s)
            outcome.revision = max(outcome.revision, load.revision)
            watched = load.watch_tally
            outcome.deliveries += watched["events"]
            outcome.deliveries_in_window += watched["events_in_window"]
            outcome.watches_lost += watched["cancelled"]
            outcome.previous += watched["previous"]
            outcome.delivery_latencies.merge(load.delivery_latencies())
        return outcome

    def close(self) -> None:
        for load in self.loads:
            load.close()
        self.sockets.close()


@contextmanager
def session(plan: Plan, table: array[int] | None = None) -> Iterator[Session]:
    """Open a plan's connections and watches; close them afterwards."""
    opened = Session(plan, table)
    opened.open()
    try:
        yield opened
    finally:
        opened.close()


def measure(plan: Plan, table: array[int] | None = None) -> Outcome:
    """Run a plan. `table` has a number for each key and learns revisions from answers."""
    with session(plan, table) as opened:
        return opened.run()
