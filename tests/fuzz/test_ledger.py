"""Runs of the fuzzer add up, by target."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.ledger import LEDGER, Run, append, runs, table, totals

TARGETS = sorted(
    file.stem
    for file in (Path(__file__).parent / "targets").glob("*.py")
    if file.stem != "__init__"
)


def run(target: str, cpu_s: float, findings: int = 0) -> Run:
    return Run(target, "0123abc", "2026-01-02", cpu_s, 1000, 500, findings)


def test_runs_add_up(tmp_path: Path) -> None:
    ledger = tmp_path / "hours.jsonl"
    assert runs(ledger) == []
    for one in (run("log", 1800.0), run("peer", 60.5, 1), run("log", 1800.0)):
        append(one, ledger)
    told = runs(ledger)
    assert totals(told, ["log", "peer", "bbolt"]) == {"log": 3600.0, "peer": 60.5, "bbolt": 0.0}
    printed = table(told, ["log", "peer", "bbolt"]).splitlines()
    assert printed[1].split() == ["log", "2", "60.0", "2000", "0"]
    assert printed[2].endswith("59.0 missing")


def test_a_run_of_no_target_is_no_run() -> None:
    with pytest.raises(KeyError):
        totals([run("nothing", 1.0)], ["log"])


def test_the_ledger_that_is_kept_can_be_read() -> None:
    told = runs(LEDGER)
    assert sum(totals(told, TARGETS).values()) == pytest.approx(sum(one.cpu_s for one in told))
    assert all(one.cpu_s > 0 and one.executions > 0 for one in told)
