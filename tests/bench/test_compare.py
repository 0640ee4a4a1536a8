"""The comparison: what its rows say, and that a small one runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import __main__ as main
from bench import plot, report
from bench.__main__ import chosen
from bench.cases import CASES, Case, find
from bench.compare import Row, one_round
from bench.load import Shape
from bench.proof import agree
from bench.series import Point, Series
from bench.target import Sample


def row(name: str, ours: list[float], theirs: list[float]) -> Row:
    rounds = {"raftkv": [Sample(v) for v in ours], "etcd": [Sample(v) for v in theirs]}
    return Row(find([name])[0], rounds)


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


def test_a_section_is_added_and_drawings_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(main, "PLOTS", tmp_path / "plots")
    (tmp_path / "RESULTS.md").write_text("# Results\n")
    points = [Point("1", 1, {"raftkv": Sample(3, p99_ms=1), "etcd": Sample(1, p99_ms=9)})]
    heading = report.heading(3, "python -m bench compare", {"raftkv": "", "etcd": "3.5.1"}, 5)
    main.write(heading, ["| a |\n"], [Series("growth-keys", "Puts", "keys", "/s", points)])
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.startswith("# Results\n\n## 3 members, ")
    assert "etcd 3.5.1, medians of 5 rounds" in text
    for name in ("growth-keys.svg", "growth-keys-p99.svg"):
        assert f"(plots/{name})" in text
        assert (tmp_path / "plots" / name).read_text().startswith("<svg")


def test_a_round_that_fails_is_repeated() -> None:
    class Flaky:
        program = "raftkv"

        def __init__(self, failures: int) -> None:
            self.failures = failures

        def run(self, _target: object, _context: object) -> Sample:
            self.failures -= 1
            if self.failures >= 0:
                raise RuntimeError("lost")
            return Sample(7.0)

        def check_leader(self) -> None: ...
        def find_leader(self) -> None: ...

    for failures, works in ((2, True), (3, False)):
        flaky: Any = Flaky(failures)
        made = Row(Case("a", "a", "", flaky.run), {"raftkv": []})
        context: Any = None
        if works:
            one_round(made, flaky, context, lambda _: None)
            assert made.rounds["raftkv"] == [Sample(7.0)]
        else:
            with pytest.raises(RuntimeError, match="a on raftkv: lost"):
                one_round(made, flaky, context, lambda _: None)


@pytest.mark.slow
def test_a_small_comparison_runs() -> None:
    suite = "put-64,range-10k,apiserver-txn,watch-10k,growth-values"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "compare", "--smoke", "--members=1", f"--suite={suite}"],
        capture_output=True,
        text=True,
        timeout=150,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    for name in ("put-64", "range-10k", "apiserver-txn", "watch-10k"):
        assert f"`{name}`" in done.stdout
    assert "Puts by size of value" in done.stdout
    assert "its figures mean nothing" in done.stderr


@pytest.mark.slow
def test_the_generator_agrees_with_h2load() -> None:
    """Loosely, as rounds are few and short, and the machine is busy with other tests."""
    for seen in agree(0.3, rounds=3):
        assert 1 / 3 < seen.ours / seen.h2load < 3, seen
    assert Shape(10, 100).in_flight == 1000


def test_an_unknown_suite_ends_with_a_word() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "compare", "--suite=nothing"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "no case nothing" in done.stderr
