"""Both programs at the same rate: what waits grow to at the most that the peer serves."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from bench import operation
from bench.case import FULL_CONNECTIONS, FULL_STREAMS, Context, Run, closed
from bench.generator import Plan
from bench.target import Sample, Target, milliseconds

TRIES = 3
"""Rounds of the closed loop; the median counts."""
REFUSED_MAX = 0.01
STEP = 0.95
LEAST = 0.5
"""Of what the closed loop found; a peer that does not serve that much has no maximum here."""


def peer_rate(context: Context, name: str, measure: Callable[[], float]) -> float:
    """Return a rate of the peer, measured when it is first asked for."""
    rates = context.journal.rates
    if name not in rates:
        context.journal.add_rate(name, measure())
    return rates[name]


def open_puts(target: Target, context: Context, rate: float) -> Plan:
    """Puts that are due at even distances, however long answers take."""
    size = context.size
    return Plan(
        [target.leader],
        [operation.put()],
        connections=FULL_CONNECTIONS,
        streams=10 * FULL_STREAMS,
        space=size.keys,
        duration_s=size.duration_s,
        warm_up_s=size.warm_up_s,
        rate=rate,
        drain_s=60.0,
    )


def serves(target: Target, context: Context, rate: float) -> bool:
    """Tell whether fewer than REFUSED_MAX of the puts are refused at a rate, for one round."""
    try:
        sample = target.sample(open_puts(target, context, rate), refusals=True)
        target.check_leader()
    except RuntimeError:  # what is lost or never sent is not served either
        target.recover()
        return False
    return sample.refused < REFUSED_MAX


def served_rate(context: Context) -> float:
    """Return the greatest rate at which the peer refuses fewer than REFUSED_MAX of the puts.

    1,000 in flight in a closed loop show what it does while everybody waits for an answer before
    asking again. Clients that do not wait let what is late pile up, and etcd refuses puts while
    5,000 entries are committed and not applied ("too many requests"), so that this rate may be
    none that it serves. From there the rate goes down by 5 % a step until it serves a round of it.
    RuntimeError where that is not above LEAST of the closed loop's.
    """
    peer = context.peer
    plan = closed(peer, context, operation.put())
    most = statistics.median(peer.sample(plan).value for _ in range(TRIES))
    part = 1.0
    while not serves(peer, context, most * part):
        part *= STEP
        if part < LEAST:
            raise RuntimeError(f"{peer.program} refuses puts at {LEAST:.0%} of {most:,.0f}/s still")
    context.journal.add_note(
        "p99-at-etcd-max",
        f"{most * part:,.0f} puts a second are due at even distances: the most of which"
        f" {peer.program} refused less than {REFUSED_MAX:.0%} in a round, {part:.0%} of what it did"
        " with 1,000 in flight. A refusal counts as an answer that never came: where more than one"
        " in a hundred is refused in a round, its p99 is `refused`",
    )
    return most * part


def put_p99_at(part: float) -> Run:
    """Puts at a part of the peer's own maximum rate, open loop; the figure is the p99.

    Both programs are offered the same rate (`served_rate`), found before the first round.
    """

    def run(target: Target, context: Context) -> Sample:
        most = peer_rate(context, "served", lambda: served_rate(context))
        return target.sample(
            open_puts(target, context, most * part),
            value=lambda outcome: milliseconds(outcome)["p99_ms"],
            refusals=True,
        )

    return run
