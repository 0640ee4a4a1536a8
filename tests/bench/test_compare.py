"""The comparison: what its rows say, and that a small one runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import __main__ as command_line
from bench import compare, plot, report, results
from bench.__main__ import chosen, main
from bench.case import SMOKE, Case, Context
from bench.cases import CASES, find
from bench.compare import ATTEMPTS, Row, one_round
from bench.journal import Journal
from bench.load import Shape
from bench.proof import agree
from bench.series import Point, Series
from bench.target import Sample


def row(name: str, ours: list[float], theirs: list[float], **more: Any) -> Row:
    rounds = {"raftkv": [Sample(v) for v in ours], "etcd": [Sample(v) for v in theirs]}
    return Row(find([name])[0], rounds, **more)


def test_a_ratio_is_of_medians() -> None:
    made = row("put-1000", [1.0, 300.0, 1000.0], [100.0, 90.0, 500.0])
    assert made.ratio == 3.0
    assert made.meets_goal
    assert not row("put-1000", [299.0], [100.0]).meets_goal


def test_less_is_better_for_latencies() -> None:
    assert row("put-1", [0.6], [1.0]).meets_goal
    assert not row("put-1", [0.61], [1.0]).meets_goal


def test_some_goals_are_about_our_own_figure() -> None:
    assert row("watchers-idle-cost", [0.95], [1.2]).meets_goal
    assert not row("watchers-idle-cost", [0.85], [0.5]).meets_goal


def test_every_goal_of_the_suite_has_a_case() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert chosen("all", False)[0] == names


def test_an_unknown_case_is_named() -> None:
    with pytest.raises(ValueError, match="no case put-2; there are memory-1m"):
        find(["put-2"])
    assert chosen("put-1, growth-keys", False) == (["put-1"], ["growth-keys"])


def test_tables_have_a_cell_for_each_column() -> None:
    head, cells = report.case_cells([row("put-64", [2.0], [1.0]), row("put-1", [2.0], [1.0])])
    assert {len(line) for line in cells} == {len(head)}
    assert "≥ 2.5: missed" in cells[0]
    assert report.markdown(head, cells).count("\n") == 4


def test_a_plot_is_an_svg_with_every_point() -> None:
    points = [
        Point("1", 1, {"raftkv": Sample(1000), "etcd": Sample(10)}),
        Point("3 & more", 3, {"raftkv": Sample(0), "etcd": Sample(20_000)}),
    ]
    drawn = ElementTree.fromstring(plot.svg(Series("s", "Title", "members", "/s", points)))
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == 4
    texts = [node.text for node in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"raftkv", "etcd", "3 & more", "members"} <= set(texts)


def test_a_refused_figure_is_written_and_judged() -> None:
    """Refused on one side: no ratio, but who answered has met a bound from above."""
    name, refused = "p99-at-etcd-max", float("inf")
    for ours, theirs, goal in ((5.0, refused, "met"), (refused, 5.0, "missed")):
        made = row(name, [ours], [theirs])
        _, cells = report.case_cells([made])
        assert cells[0][1:5].count("refused") == 1
        assert cells[0][3:5] == ["–", f"≤ 0.5: {goal}"]
    assert not row(name, [refused], [refused]).meets_goal


def test_a_case_that_failed_has_a_row_and_a_reason() -> None:
    failed = row("put-64", [1.0], [], failure="round 1 on etcd: lost")
    partly = row("put-1", [1.0, 2.0], [4.0], failure="round 2 on etcd: gone", note="a note")
    head, cells = report.case_cells([failed, partly])
    assert {len(line) for line in cells} == {len(head)}
    assert cells[0][1:5] == ["failed", "", "", "≥ 2.5: unknown"]
    assert "0.38 ×" in cells[1]
    remarks = report.remarks([failed, partly])
    assert "`put-64` failed, round 1 on etcd: lost." in remarks
    assert "gone; medians of 1 rounds" in remarks
    assert "`put-1`: a note." in remarks


class Flaky:
    """A target, and the run on it, that fails some times."""

    program = "raftkv"

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.recovered = 0

    def run(self, _target: object, _context: object) -> Sample:
        self.failures -= 1
        if self.failures >= 0:
            raise RuntimeError("lost")
        return Sample(7.0)

    def check_leader(self) -> None: ...

    def recover(self) -> None:
        self.recovered += 1


def run_flaky(failures: int) -> tuple[Journal, Any]:
    flaky: Any = Flaky(failures)
    context = Context(SMOKE, flaky, Journal())
    for number in range(2):
        case = Case("a", "a", "", flaky.run)
        one_round(case, number, 2, {"raftkv": flaky}, context, lambda _: None)
    return context.journal, flaky


def test_a_round_that_fails_is_repeated() -> None:
    journal, flaky = run_flaky(ATTEMPTS - 1)
    assert journal.samples("a", "raftkv") == [Sample(7.0)] * 2
    assert not journal.failures
    assert flaky.recovered == ATTEMPTS - 1


def test_a_case_that_fails_is_given_up_and_nothing_else() -> None:
    journal, flaky = run_flaky(ATTEMPTS)
    assert journal.failures == {"a": "round 1 on raftkv: lost"}
    assert not journal.samples("a", "raftkv")
    assert flaky.failures == 0, "the second round did not try again"


@pytest.mark.slow
def test_a_small_comparison_runs() -> None:
    suite = "put-64,p99-at-etcd-80,range-10k,apiserver-txn,watch-10k,growth-values"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "compare", "--smoke", "--members=1", f"--suite={suite}"],
        capture_output=True,
        text=True,
        timeout=150,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    for name in suite.split(",")[:-1]:
        assert f"`{name}`" in done.stdout
    assert "Puts by size of value" in done.stdout
    assert "its figures mean nothing" in done.stderr


@pytest.mark.slow
def test_a_run_that_is_cut_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured twice, and RESULTS.md has what both lives found."""
    monkeypatch.setattr(command_line, "JOURNAL", tmp_path / "journal")
    monkeypatch.setattr(results, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(report, "measured_commit", lambda: "abc")
    (tmp_path / "RESULTS.md").write_text("# Results\n")
    measured: list[str] = []

    def attempted(name: str, *_: object) -> Sample:
        measured.append(name)
        if len(measured) == 4:
            raise KeyboardInterrupt
        return Sample(float(len(measured)))

    monkeypatch.setattr(compare, "attempt", attempted)
    asked = [
        "compare",
        "--suite=put-1,put-64",
        "--members=1",
        "--rounds=1",
        "--keys=100",
        "--write",
    ]
    with pytest.raises(KeyboardInterrupt):
        main(asked)
    assert "put-64" not in (tmp_path / "RESULTS.md").read_text()
    assert main([*asked, "--resume"]) == 0
    assert measured == ["put-1", "put-1", "put-64", "put-64", "put-64"]
    assert "| 3.00 /s | 5.00 /s |" in (tmp_path / "RESULTS.md").read_text()
    assert not (tmp_path / "journal").exists()
    assert main([*asked, "--resume"]) == 2, "a finished run is not resumed"


@pytest.mark.slow
def test_the_generator_agrees_with_h2load() -> None:
    """Loosely, as rounds are few and short, and the machine is busy with other tests."""
    for seen in agree(0.3, rounds=3):
        assert 1 / 3 < seen.ours / seen.h2load < 3, seen
    assert Shape(10, 100).in_flight == 1000


def test_a_wrong_command_line_ends_with_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--suite=nothing"]) == 2
    assert "no case nothing" in capsys.readouterr().err
