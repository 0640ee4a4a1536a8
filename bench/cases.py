"""The cases of `python -m bench compare`, by name: what is asked, and what the ratio should be."""

from __future__ import annotations

from dataclasses import replace

from bench import operation
from bench.case import FULL_CONNECTIONS, FULL_STREAMS, Case, Context, Run, closed
from bench.fixed_rate import peer_rate, put_p99_at
from bench.generator import Outcome, Plan, Watches
from bench.operation import KEY_PREFIX
from bench.target import Sample, Target, milliseconds
from raftkv.pb.etcd import rpc_pb2 as pb

PODS = b"pods0/"
POD_BYTES = 2048
POD_PAGE = 500
QUIET_WATCHERS = 1000
LEASES = 1000


def puts(in_flight: int) -> Run:
    return lambda target, context: target.sample(
        closed(target, context, operation.put(), in_flight=in_flight)
    )


def put_latency(target: Target, context: Context) -> Sample:
    """One put at a time; the figure is the median in milliseconds."""
    plan = closed(target, context, operation.put(), in_flight=1)
    return target.sample(plan, value=lambda outcome: milliseconds(outcome)["p50_ms"])


def put_cpu(target: Target, context: Context) -> Sample:
    """1,000 puts in flight; the figure is CPU microseconds per put over the whole cluster."""
    outcome, costs = target.measure(closed(target, context, operation.put()))
    outcome.raise_for_errors()
    return Sample(costs.cpu_s * 1e6 / outcome.completed, **milliseconds(outcome))


def ranges(*, serializable: bool) -> Run:
    return lambda target, context: target.sample(
        closed(target, context, operation.get(serializable=serializable))
    )


def megabytes(outcome: Outcome) -> float:
    """Return the megabytes of answers a second."""
    return outcome.answer_bytes / 1e6 * outcome.rate / max(1, outcome.completed)


def large_range(target: Target, context: Context) -> Sample:
    size = context.size
    plan = Plan(
        [target.leader],
        [operation.range_of(size.range_keys)],
        connections=2,
        streams=2,
        space=size.keys - size.range_keys + 1,
        duration_s=size.duration_s,
        warm_up_s=size.warm_up_s,
    )
    return target.sample(plan, value=megabytes)


def mixed(target: Target, context: Context) -> Sample:
    plan = closed(target, context, operation.get(weight=80), operation.put(weight=20))
    return target.sample(plan)


def pod_plan(target: Target, context: Context, *operations: operation.Operation) -> Plan:
    size = context.size
    return Plan(
        [target.leader],
        operations,
        connections=FULL_CONNECTIONS,
        streams=min(FULL_STREAMS, max(1, size.pods // 100)),
        space=size.pods,
        duration_s=size.duration_s,
        warm_up_s=size.warm_up_s,
    )


def update(target: Target, context: Context) -> Sample:
    """Updates as kube-apiserver writes them; the figure is those a second whose compare held."""
    plan = pod_plan(target, context, operation.update(POD_BYTES, PODS))
    return target.sample(
        plan,
        target.tables[PODS],
        lambda outcome: outcome.rate * (1 - outcome.refused / max(1, outcome.completed)),
    )


def pod_list(target: Target, context: Context) -> Sample:
    """Pages of 500 at one revision, ten lists at once; the figure is keys a second."""
    size = context.size
    plan = Plan(
        [target.leader],
        [operation.page(POD_PAGE, max(target.tables[PODS]), PODS)],
        connections=10,
        streams=1,
        space=size.pods,
        order="sequential",
        stride=POD_PAGE,
        duration_s=size.duration_s,
        warm_up_s=size.warm_up_s,
    )
    return target.sample(
        plan, value=lambda outcome: outcome.keys * outcome.rate / max(1, outcome.completed)
    )


def prefix_watch(prefix: bytes, connections: int, per_stream: int, *, prev_kv: bool) -> Watches:
    """Watches of a whole prefix, one stream a connection, as Go's client would hold them."""
    create = pb.WatchCreateRequest(
        key=prefix, range_end=operation.prefix_end(prefix), prev_kv=prev_kv
    )
    return Watches([create], connections, connections, per_stream, True)


def pod_watch(target: Target, context: Context) -> Sample:
    """One watch with prev_kv of a prefix under updates; the figure is events a second."""
    size = context.size
    plan = Plan(
        [target.leader],
        [operation.put(POD_BYTES, PODS, stamped=True)],
        connections=FULL_CONNECTIONS,
        streams=min(FULL_STREAMS, max(1, size.pods // 100)),
        space=size.pods,
        duration_s=size.duration_s,
        warm_up_s=size.warm_up_s,
        watches=prefix_watch(PODS, 1, 1, prev_kv=True),
        undelivered_max=2000,
        drain_s=60.0,
    )
    return target.sample(
        plan, target.tables[PODS], lambda outcome: outcome.delivery_rate, deliveries=True
    )


def fan_out_plan(target: Target, context: Context, rate: float) -> Plan:
    size = context.size
    per_stream = size.watchers // size.watch_connections
    return Plan(
        [target.leader],
        [operation.put(stamped=True)],
        connections=1,
        streams=64,
        space=size.keys,
        duration_s=size.duration_s,
        warm_up_s=0.0 if rate else size.warm_up_s,
        rate=rate,
        watches=prefix_watch(KEY_PREFIX, size.watch_connections, per_stream, prev_kv=False),
        undelivered_max=0 if rate else 8,
        drain_s=60.0,
    )


def fan_out(target: Target, context: Context) -> Sample:
    """Each put is for every watcher, at most eight are owed; the figure is deliveries a second."""
    return target.sample(
        fan_out_plan(target, context, 0.0),
        value=lambda outcome: outcome.delivery_rate,
        deliveries=True,
    )


def fan_out_p99(target: Target, context: Context) -> Sample:
    """Half of what the peer delivers at most; the figure is the p99 from put to delivery."""
    peer = context.peer
    most = peer_rate(context, "watch-10k", lambda: fan_out(peer, context).value)
    plan = fan_out_plan(target, context, most / context.size.watchers / 2)
    return target.sample(
        plan,
        value=lambda outcome: milliseconds(outcome, deliveries=True)["p99_ms"],
        deliveries=True,
    )


def quiet_watchers(target: Target, context: Context) -> Sample:
    """64 puts in flight with 1,000 watchers of other keys; the figure is the rate that is left
    of what the same load does without them, before and after."""
    plan = closed(target, context, operation.put(), in_flight=64)
    creates = [
        pb.WatchCreateRequest(key=operation.key_of(number, b"quiet/"))
        for number in range(QUIET_WATCHERS)
    ]
    watches = Watches(creates, 10, 10, QUIET_WATCHERS // 10, False)
    before = target.sample(plan).value
    watched = target.sample(replace(plan, watches=watches))
    after = target.sample(plan).value
    return replace(watched, value=2 * watched.value / max(1.0, before + after))


def keep_alive(target: Target, context: Context) -> Sample:
    """Renewals of 1,000 leases over 1,000 streams."""
    leases = target.grant_leases(min(LEASES, context.size.pods // 10))
    plan = closed(target, context, operation.keep_alive())
    return target.sample(replace(plan, space=len(leases), order="sequential"), leases)


def memory(target: Target, context: Context) -> Sample:
    """Resident memory of the largest member with what it was filled with, and nothing else yet.

    Later rounds find the history of the other cases in the store, so that it is measured once.
    """
    if not target.filled_resident_mb:
        target.filled_resident_mb = target.cluster.resident_bytes() / 1e6
    return Sample(target.filled_resident_mb, resident_mb=target.filled_resident_mb)


CASES = (
    # First, as it is about the filled store before anything else was asked of it.
    Case("memory-1m", "resident memory, {keys} keys", "MB", memory, 0.5, False),
    Case("put-1000", "puts, 1,000 in flight", "/s", puts(0), 3.0),
    Case("put-64", "puts, 64 in flight", "/s", puts(64), 2.5),
    Case("put-1", "put, 1 in flight: median", "ms", put_latency, 0.6, False),
    Case("p99-at-etcd-max", "put p99 at the peer's own maximum", "ms", put_p99_at(1.0), 0.5, False),
    Case("p99-at-etcd-80", "put p99 at 80 % of it", "ms", put_p99_at(0.8), None, False),
    Case("cpu-per-put", "CPU per put, whole cluster", "µs", put_cpu, 0.5, False),
    Case(
        "range-lin", "linearizable ranges, 1,000 in flight", "/s", ranges(serializable=False), 4.0
    ),
    Case("range-ser", "serializable ranges, 1,000 in flight", "/s", ranges(serializable=True), 2.0),
    Case("range-10k", "ranges of 10,000 keys", "MB/s", large_range, 2.0),
    Case("mixed-80-20", "80 % ranges, 20 % puts, 1,000 in flight", "/s", mixed, 3.0),
    Case("apiserver-txn", "compare-and-put, 2 KiB", "/s", update, 3.0),
    Case("apiserver-list", "lists by pages of 500, 2 KiB: keys", "/s", pod_list, 2.0),
    Case("apiserver-watch", "one watch with prev_kv, 2 KiB: events", "/s", pod_watch, 3.0),
    Case("watch-10k", "10,000 watchers of a prefix: deliveries", "/s", fan_out, 5.0),
    Case("watch-10k-p99", "put to delivery, p99 at a fixed rate", "ms", fan_out_p99, 0.5, False),
    Case(
        "watchers-idle-cost", "put rate left beside 1,000 quiet watchers", "", quiet_watchers, 0.9
    ),
    Case("lease-keep-alive", "lease renewals, 1,000 in flight", "/s", keep_alive),
)

ABSOLUTE = {"watchers-idle-cost"}
"""Cases whose goal is about raftkv's own figure, not about the ratio."""


def find(names: list[str]) -> list[Case]:
    """Return the cases of these names, all where there are none. ValueError: an unknown name."""
    known = {case.name: case for case in CASES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no case {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(CASES)
