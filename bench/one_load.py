"""`python -m bench load`: one load on any endpoint of the etcd v3 API."""

from __future__ import annotations

import argparse
from array import array

from bench import operation
from bench.generator import Outcome, Plan, measure
from bench.target import milliseconds

NAMES = ("put", "range", "range-serializable", "mixed", "fill")


def add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", choices=NAMES, help="what to ask for; mixed: 80 %% ranges")
    parser.add_argument("--endpoint", required=True, action="append", help="host:port; repeatable")
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--streams", type=int, default=100, help="in flight on each (default 100)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=0.0, help="a second: open loop; 0: closed")
    parser.add_argument("--keys", type=int, default=1_000_000, help="the space of keys")
    parser.add_argument("--order", choices=["uniform", "zipfian", "sequential"], default="uniform")
    parser.add_argument("--value-bytes", type=int, default=operation.VALUE_BYTES)


def operations(options: argparse.Namespace) -> list[operation.Operation]:
    size = options.value_bytes
    return {
        "put": [operation.put(size)],
        "range": [operation.get()],
        "range-serializable": [operation.get(serializable=True)],
        "mixed": [operation.get(weight=80), operation.put(size, weight=20)],
        "fill": [operation.fill(100, size)],
    }[str(options.operation)]


def run_load(options: argparse.Namespace) -> int:
    """Run what the command line says; 1 where a request failed."""
    filling = options.operation == "fill"
    plan = Plan(
        options.endpoint,
        operations(options),
        connections=options.connections,
        streams=options.streams,
        threads=options.threads,
        space=options.keys,
        order="sequential" if filling else options.order,
        stride=100 if filling else 1,
        duration_s=0.0 if filling else options.seconds,
        count=-(-options.keys // 100) if filling else 0,
        rate=options.rate,
    )
    outcome = measure(plan, array("q"))
    print(summary(outcome))
    return 1 if outcome.failed else 0


def summary(outcome: Outcome) -> str:
    """Say in a few lines what came of a load."""
    latency = "  ".join(
        f"{name.removesuffix('_ms')} {value:.3f}" for name, value in milliseconds(outcome).items()
    )
    lines = [
        f"{outcome.recorded:,} answers in {outcome.window_s:.2f} s: {outcome.rate:,.0f}/s",
        f"milliseconds: {latency}",
    ]
    if outcome.failed:
        lines.append(
            f"failed: {outcome.errors} (gRPC code: calls), never sent: {outcome.unissued}"
            f" {outcome.error_text}"
        )
    return "\n".join(lines)
