"""The model of a group: its formula, what it is put in, and that RESULTS.md tells what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import machine, model
from bench.model import Costs, Measured
from bench.results import RESULTS

QUIET = machine.Machine(
    2,
    {1: 0.19e-3, 3: 0.18e-3, 5: 0.22e-3},
    {1: 0.60e-3, 3: 0.67e-3, 5: 0.73e-3},
    0.010e-3,
)
COSTS = Costs(0.41e-3, {1: 7.5e-6, 3: 14.0e-6, 5: 20.0e-6})


def test_a_quiet_machine_is_reproduced() -> None:
    """Rates of three members when little else ran: 1.01 ms alone, 26,140/s and 84,361/s."""
    for in_flight, seen in ((1, 1 / 1.01e-3), (64, 26_140), (1000, 84_361)):
        assert model.rate(QUIET, COSTS, 3, in_flight) == pytest.approx(seen, rel=0.3)


def test_each_bound_bounds() -> None:
    """A slow sync holds back the lone put, a slow core the many, a slow disk both."""
    slow_sync = replace(QUIET, sync_s={3: 5e-3}, large_sync_s={3: 5.5e-3})
    assert model.rate(slow_sync, COSTS, 3, 1) < 0.25 * model.rate(QUIET, COSTS, 3, 1)
    assert model.rate(slow_sync, COSTS, 3, 1000) > 0.5 * model.rate(QUIET, COSTS, 3, 1000)
    busy = Costs(COSTS.batch_s, {n: 10 * put_s for n, put_s in COSTS.put_s.items()})
    assert model.rate(QUIET, busy, 3, 1000) < 0.2 * model.rate(QUIET, COSTS, 3, 1000)
    assert model.rate(QUIET, busy, 3, 1) > 0.8 * model.rate(QUIET, COSTS, 3, 1)
    slow_disk = replace(QUIET, large_sync_s={3: 100e-3})
    assert model.work_s(slow_disk, COSTS, 3) > 10 * model.work_s(QUIET, COSTS, 3)


def test_bytes_grow_with_keys_up_to_a_page_a_put() -> None:
    written = [model.disk_bytes(keys) for keys in (1_000, 10_000, 1_000_000, 100_000_000)]
    assert written == sorted(written)
    assert 600 < written[0] < 700
    assert written[-1] - written[0] < model.PAGE_BYTES


def test_costs_are_separated() -> None:
    measured = {
        (n, k): Measured(1.0, 5e-6 * n + 400e-6 * n * (k == 1))
        for n in (1, 3)
        for k in (1, 64, 1000)
    }
    costs = model.costs_of(measured)
    assert costs.batch_s == pytest.approx(400e-6)
    assert costs.put_s == {1: 5e-6, 3: pytest.approx(15e-6)}


def test_the_tables_are_read_as_they_are_written() -> None:
    read = machine.read_table(machine.table(QUIET))
    assert read.cores == QUIET.cores
    assert read.sync_s == pytest.approx(QUIET.sync_s)
    assert read.large_sync_s == pytest.approx(QUIET.large_sync_s)
    assert read.round_trip_s == pytest.approx(QUIET.round_trip_s)
    with pytest.raises(ValueError, match="no table of the machine"):
        machine.read_table("| cores | 2 |\n")
    row = "| members | raftkv, /s | etcd, /s | ratio | CPU raftkv, µs/op |\n|---|---|\n"
    text = "".join(
        f"\n## {model.MEASURED_TITLE.format(f)}\n\nwords\n\n{row}| 1 | 1,234 | 5 | 2 | 12.5 |\n"
        for f in model.IN_FLIGHT
    )
    assert model.read_measured(text)[1, 64] == Measured(1234.0, 12.5e-6)
    assert "| 1 | 64 |" in model.section(f"{text}\n## The machine\n\n{machine.table(QUIET)}")
    with pytest.raises(ValueError, match="no table of puts with 1 in flight"):
        model.read_measured("")


def test_results_tell_what_the_model_says() -> None:
    """Nobody changed one of the sections alone."""
    text = RESULTS.read_text()
    if f"## {model.TITLE}\n" in text:
        assert model.section(text).strip() in text


def test_the_machine_is_probed() -> None:
    probed = machine.probe(seconds=0.03)
    assert set(probed.sync_s) == set(machine.WRITERS)
    assert all(0 < seconds < 1 for seconds in probed.sync_s.values())
    assert 0 < probed.round_trip_s < 0.1
