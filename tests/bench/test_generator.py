"""The generator against real servers: what it says it did is what the store has."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import operation
from bench.cluster import Cluster, etcd_command, raftkv_command
from bench.generator import Plan, Watches, measure
from bench.native.load import TRANSPORT
from bench.proof import saturate
from bench.target import leader_of
from raftkv.client import Client
from raftkv.pb.etcd import rpc_pb2 as pb

SPACE = 200
PREFIX = operation.KEY_PREFIX
COMMANDS = {"raftkv": raftkv_command, "etcd": etcd_command}


@pytest.fixture(scope="module", params=list(COMMANDS))
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("member")
    with Cluster(COMMANDS[request.param](), 1, directory) as running:
        asyncio.run(leader_of(running.endpoints))
        yield running


def plan(cluster: Cluster, *operations: operation.Operation, count: int = 300) -> Plan:
    return Plan(cluster.endpoints, operations, connections=3, streams=10, space=SPACE, count=count)


def everything(cluster: Cluster, prefix: bytes = PREFIX) -> pb.RangeResponse:
    async def read() -> pb.RangeResponse:
        async with Client(cluster.endpoints) as client:
            return await client.range(
                pb.RangeRequest(key=prefix, range_end=operation.prefix_end(prefix))
            )

    return asyncio.run(read())


def wipe(cluster: Cluster) -> int:
    """Delete all keys; returns the revision."""

    async def delete() -> int:
        async with Client(cluster.endpoints) as client:
            await client.delete(b"\0", range_end=b"\0")
            return int((await client.range(pb.RangeRequest(key=b"x"))).header.revision)

    return asyncio.run(delete())


def test_puts_write_the_keys_that_were_asked_for(cluster: Cluster) -> None:
    before = wipe(cluster)
    asked = replace(plan(cluster, operation.put(100)), order="sequential", count=SPACE)
    outcome = measure(asked)
    stored = everything(cluster)
    assert [kv.key for kv in stored.kvs] == [operation.key_of(n) for n in range(SPACE)]
    assert {kv.value for kv in stored.kvs} == {operation.value_of(100)}
    assert stored.header.revision == before + SPACE == outcome.revision
    assert (outcome.issued, outcome.completed, outcome.recorded) == (SPACE, SPACE, SPACE)
    assert (outcome.failed, outcome.latencies.total) == (0, SPACE)


def test_a_mix_adds_up(cluster: Cluster) -> None:
    before = wipe(cluster)
    outcome = measure(plan(cluster, operation.get(weight=80), operation.put(weight=20), count=2000))
    written = everything(cluster).header.revision - before
    assert outcome.by_operation["put"] == written
    assert outcome.by_operation["range"] + written == 2000
    assert 300 <= written <= 500


def test_updates_know_the_revisions_that_answers_told(cluster: Cluster) -> None:
    wipe(cluster)
    table = array("q", bytes(8 * SPACE))
    fill = replace(
        plan(cluster, operation.fill(100, 64)), order="sequential", stride=100, count=SPACE // 100
    )
    measure(fill, table).raise_for_errors()
    assert {kv.key: kv.mod_revision for kv in everything(cluster).kvs} == {
        operation.key_of(number): revision for number, revision in enumerate(table)
    }
    alone = replace(plan(cluster, operation.update(64, PREFIX)), connections=1, streams=1)
    outcome = measure(alone, table)
    assert (outcome.completed, outcome.refused) == (300, 0)
    stale = array("q", bytes(8 * SPACE))
    first = measure(replace(alone, order="sequential", count=SPACE), stale)
    assert first.refused == SPACE
    assert stale == table
    assert measure(replace(alone, order="sequential", count=SPACE), stale).refused == 0


def test_ranges_and_pages_return_what_there_is(cluster: Cluster) -> None:
    wipe(cluster)
    measure(replace(plan(cluster, operation.put(64)), order="sequential", count=SPACE))
    revision = everything(cluster).header.revision
    several = replace(plan(cluster, operation.range_of(10)), space=SPACE - 10, count=50)
    assert measure(several).keys == 500
    pages = replace(
        plan(cluster, operation.page(60, revision, PREFIX)), order="sequential", stride=60, count=4
    )
    assert measure(pages).keys == SPACE


def test_every_watcher_hears_of_every_put(cluster: Cluster) -> None:
    create = pb.WatchCreateRequest(key=PREFIX, range_end=operation.prefix_end(PREFIX), prev_kv=True)
    wipe(cluster)
    watched = replace(
        plan(cluster, operation.put(64, stamped=True), count=100),
        order="sequential",
        space=50,
        watches=Watches([create], 2, 4, 5, True),
        undelivered_max=10,
    )
    outcome = measure(watched)
    assert (outcome.completed, outcome.deliveries) == (100, 2000)
    assert outcome.delivery_latencies.total == 2000
    assert outcome.previous == 1000
    assert outcome.delivery_latencies.max_ns >= outcome.latencies.quantile(0.0)


def test_leases_are_kept_alive(cluster: Cluster) -> None:
    async def grant() -> array[int]:
        async with Client(cluster.endpoints) as client:
            return array("q", [(await client.lease_grant(600)).ID for _ in range(20)])

    leases = asyncio.run(grant())
    asked = replace(plan(cluster, operation.keep_alive()), space=20, order="sequential")
    outcome = measure(asked, leases)
    assert (outcome.completed, outcome.refused, outcome.failed) == (300, 0, 0)
    gone = array("q", [1])
    assert measure(replace(asked, space=1, count=30), gone).refused == 30


def test_errors_are_counted_by_code(cluster: Cluster) -> None:
    """A range of a revision that is not there yet is OutOfRange (11)."""
    outcome = measure(plan(cluster, operation.page(5, 1 << 40, PREFIX), count=40))
    assert (outcome.completed, outcome.errors, outcome.recorded) == (0, {11: 40}, 0)
    assert "future revision" in outcome.error_text
    with pytest.raises(RuntimeError, match="40 of 40 requests failed"):
        outcome.raise_for_errors()


def test_an_open_loop_keeps_its_rate(cluster: Cluster) -> None:
    asked = replace(plan(cluster, operation.put()), count=0, duration_s=0.5, rate=400.0)
    outcome = measure(asked)
    assert (outcome.issued, outcome.completed, outcome.unissued) == (200, 200, 0)
    assert outcome.window_s >= 0.5


def test_several_threads_share_the_load(cluster: Cluster) -> None:
    outcome = measure(replace(plan(cluster, operation.put()), threads=3, count=300))
    assert (outcome.completed, outcome.failed) == (300, 0)


@pytest.mark.slow
def test_a_stall_shows_in_an_open_loop(tmp_path: Path) -> None:
    """Requests that were due while the server stood still count from when they were due."""
    with Cluster(raftkv_command(), 1, tmp_path) as cluster:
        asyncio.run(leader_of(cluster.endpoints))
        pid = cluster.processes[0].pid

        def stall() -> None:
            time.sleep(0.2)
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.5)
            os.kill(pid, signal.SIGCONT)

        thread = threading.Thread(target=stall)
        thread.start()
        # One call at a time: without counting from when they were due, only one would be slow.
        asked = Plan(cluster.endpoints, [operation.put()], duration_s=1.0, rate=200.0)
        outcome = measure(asked)
        thread.join()
    assert outcome.completed == 200
    assert outcome.latencies.max_ns > 400e6
    slow = 200 - max(seen for edge, seen in outcome.latencies.steps() if edge < 100e6)
    assert slow > 50


@pytest.mark.slow
def test_a_member_that_dies_is_a_failure_and_no_hang(tmp_path: Path) -> None:
    with Cluster(raftkv_command(), 1, tmp_path) as cluster:
        asyncio.run(leader_of(cluster.endpoints))
        killer = threading.Timer(0.3, cluster.processes[0].kill)
        killer.start()
        asked = Plan(cluster.endpoints, [operation.put()], streams=8, duration_s=20.0)
        began = time.monotonic()
        outcome = measure(asked)
        killer.join()
    assert time.monotonic() - began < 10
    assert outcome.errors == {TRANSPORT: 8}
    assert outcome.completed > 0


@pytest.mark.slow
def test_the_generator_is_faster_than_what_it_measures() -> None:
    """A generator that costs more than 6 µs a request would share the blame for every figure."""
    assert saturate(0.5).cpu_us < 6


def test_a_cancelled_watch_is_a_failure(cluster: Cluster) -> None:
    """A watch of a compacted revision is cancelled; while the load opens or right afterwards."""

    async def compact() -> None:
        async with Client(cluster.endpoints) as client:
            await client.put(b"compact", b"")
            await client.put(b"compact", b"")
            last = await client.put(b"compact", b"")
            await client.compact(last.header.revision)

    asyncio.run(compact())
    create = pb.WatchCreateRequest(key=b"compact", start_revision=1)
    watches = Watches([create], 1, 1, 1, False)
    watched = replace(plan(cluster, operation.put(), count=0), watches=watches, duration_s=0.5)
    with pytest.raises((ConnectionError, RuntimeError), match="cancelled"):
        measure(watched).raise_for_errors()
