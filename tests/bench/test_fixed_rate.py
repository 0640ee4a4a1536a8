"""The rate that both programs are offered: the most that the peer serves."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bench.case import SMOKE, Context
from bench.fixed_rate import served_rate
from bench.generator import Outcome, Plan
from bench.journal import Journal
from bench.target import Sample, milliseconds


class Peer:
    """Does 1,000/s in a closed loop and refuses all above `limit` in an open one."""

    program = "etcd"
    leader = "127.0.0.1:1"

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.offered: list[float] = []

    def sample(self, plan: Plan, **_: object) -> Sample:
        if not plan.rate:
            return Sample(1000.0)
        self.offered.append(plan.rate)
        return Sample(0.0, refused=max(0.0, 1 - self.limit / plan.rate))

    def check_leader(self) -> None: ...


def context_of(limit: float) -> tuple[Context, Peer]:
    peer: Any = Peer(limit)
    return Context(SMOKE, peer, Journal()), peer


def test_the_rate_goes_down_until_it_is_served() -> None:
    context, peer = context_of(880.0)
    assert served_rate(context) == pytest.approx(857.375)
    assert peer.offered == pytest.approx([1000, 950, 902.5, 857.375])
    note = context.journal.notes["p99-at-etcd-max"]
    assert "857 puts a second" in note
    assert "86% of what it did" in note


def test_a_peer_that_serves_all_is_offered_all() -> None:
    context, peer = context_of(1000.0)
    assert served_rate(context) == 1000.0
    assert len(peer.offered) == 1


def test_a_peer_that_serves_nothing_is_given_up() -> None:
    with pytest.raises(RuntimeError, match="refuses puts at 50%"):
        served_rate(context_of(100.0)[0])


def outcome_of(answered: int, refused: int, text: str = "etcdserver: too many requests") -> Outcome:
    outcome = Outcome(issued=answered + refused, errors={2: refused}, error_text=text)
    for number in range(answered):
        outcome.latencies.record((number + 1) * 1_000_000)
    return outcome


def test_refusals_are_infinitely_late() -> None:
    few = milliseconds(outcome_of(995, 5))
    assert few["p99_ms"] == pytest.approx(990, rel=0.01)
    assert few["p50_ms"] == pytest.approx(500, rel=0.01)
    assert few["max_ms"] == math.inf
    assert milliseconds(outcome_of(985, 15))["p99_ms"] == math.inf


def test_only_refusals_are_let_pass() -> None:
    refused = outcome_of(99, 1)
    refused.raise_for_errors(refusals=True)
    with pytest.raises(RuntimeError, match="1 of 100 requests failed"):
        refused.raise_for_errors()
    refused.unissued = 1
    with pytest.raises(RuntimeError, match="never sent: 1"):
        refused.raise_for_errors(refusals=True)
    with pytest.raises(RuntimeError):
        outcome_of(99, 1, "mvcc: database space exceeded").raise_for_errors(refusals=True)
