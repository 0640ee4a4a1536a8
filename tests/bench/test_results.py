"""RESULTS.md has one section a subject, and the README quotes nothing that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report, results
from bench.cases import find
from bench.compare import Row
from bench.results import QUOTE_BEGIN, QUOTE_END, QUOTED
from bench.series import Point, Series
from bench.target import Sample


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RESULTS", "README"):
        monkeypatch.setattr(results, name, tmp_path / f"{name}.md")
    monkeypatch.setattr(results, "PLOTS", tmp_path / "plots")
    (tmp_path / "RESULTS.md").write_text("# Results\n\nWords.\n\n## Old\n\nkept\n\n## New\n\nx\n")
    (tmp_path / "README.md").write_text(f"before\n{QUOTE_BEGIN}old\n{QUOTE_END}after\n")
    return tmp_path


def test_a_section_takes_the_place_of_its_last_one(files: Path) -> None:
    results.write({"New": "one\n"})
    results.write({"New": "two\n", "Newer": "three"})
    told = (files / "RESULTS.md").read_text()
    assert told == ("# Results\n\nWords.\n\n## Old\n\nkept\n\n## New\n\ntwo\n\n## Newer\n\nthree\n")


def test_a_series_is_drawn_without_what_failed(files: Path) -> None:
    samples = {"raftkv": Sample(3, p99_ms=1), "etcd": Sample(1, p99_ms=9)}
    points = [Point("1", 1, samples), Point("3", 3, {}, "no leader")]
    where = report.provenance("python -m bench compare", {"etcd": "3.5.1"}, "medians of 3", "Busy")
    told = results.series_section(Series("growth", "Puts", "keys", "/s", points), where)
    assert "etcd 3.5.1; medians of 3; the load generator on the same machine. Busy." in told
    assert "failed: no leader" in told
    for name in ("growth.svg", "growth-p99.svg"):
        assert f"(plots/{name})" in told
        assert (files / "plots" / name).read_text().startswith("<svg")


def test_the_readme_is_given_its_table(files: Path) -> None:
    made = Row(find(["put-1000"])[0], {"raftkv": [Sample(300.0)], "etcd": [Sample(90.0)]})
    results.quote([made, Row(find(["put-64"])[0], {"raftkv": [], "etcd": []})], "Busy")
    told = (files / "README.md").read_text()
    assert told.startswith(f"before\n{QUOTE_BEGIN}| | raftkv | etcd | ratio | goal |\n")
    assert told.endswith(f"\n\nBusy.\n{QUOTE_END}after\n")
    assert "| puts, 1,000 in flight | 300 /s | 90.0 /s | 3.33 × | ≥ 3: met |" in told
    assert "64" not in told


def test_the_readme_quotes_what_results_hold() -> None:
    """The real files: each row of the README's table is a row of RESULTS.md."""
    table = results.README.read_text().split(QUOTE_BEGIN)[1].split(QUOTE_END)[0]
    held = results.RESULTS.read_text()
    rows = [line for line in table.splitlines()[2:] if line.startswith("|")]
    assert rows
    for row in rows:
        title, *figures = [cell.strip() for cell in row.strip("|").split("|")]
        assert any(
            line.startswith(f"| {title} (") and " | ".join(figures) in line
            for line in held.splitlines()
        ), row


def test_what_is_quoted_are_cases() -> None:
    assert len(find(list(QUOTED))) == len(QUOTED)
