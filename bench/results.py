"""RESULTS.md, one section a subject, and the README that quotes it.

A section is replaced by the next measurement of its subject, so that there is one figure of each
thing, and a command beside it that makes it again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import plot, report
from bench.compare import OURS, Row
from bench.series import Series

RESULTS = Path(__file__).parent / "RESULTS.md"
PLOTS = Path(__file__).parent / "plots"
README = Path(__file__).parent.parent / "README.md"
QUOTE_BEGIN, QUOTE_END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
QUOTED = (
    "put-1000",
    "put-64",
    "put-1",
    "p99-at-etcd-max",
    "cpu-per-put",
    "range-lin",
    "range-ser",
    "mixed-80-20",
    "apiserver-txn",
    "apiserver-list",
    "apiserver-watch",
    "watch-10k",
    "memory-1m",
)
"""Cases that the README tells."""


def title_of_cases(members: int) -> str:
    return f"Beside etcd: {members} member{'s' if members > 1 else ''}"


def replaced(text: str, sections: Mapping[str, str]) -> str:
    """Put each section (title -> body) where the one of its title is, or at the end."""
    head, *parts = re.split(r"^## ", text, flags=re.M)
    found = {part.split("\n", 1)[0].strip(): part.split("\n", 1)[1].strip() for part in parts}
    found.update({title: body.strip() for title, body in sections.items()})
    told = "".join(f"\n## {title}\n\n{body}\n" for title, body in found.items())
    return head.rstrip() + "\n" + told


def case_section(rows: list[Row], provenance: str) -> str:
    head, cells = report.case_cells(rows)
    goals = [row for row in rows if row.case.goal is not None]
    met = sum(row.measured and row.meets_goal for row in goals)
    count = f"{met} of {len(goals)} goals are met.\n\n" if goals else ""
    parts = [f"{provenance}\n", f"{count}{report.markdown(head, cells)}", report.remarks(rows)]
    return "\n".join(parts)


def series_section(series: Series, provenance: str) -> str:
    """Tell a series; draws it, too."""
    head, cells = report.series_cells(series)
    drawings = []
    measured = [point for point in series.points if point.medians]
    for field, ending in (("value", ""), ("p99_ms", "-p99")):
        if any(getattr(one, field) for point in measured for one in point.medians.values()):
            PLOTS.mkdir(exist_ok=True)
            name = f"{series.name}{ending}.svg"
            (PLOTS / name).write_text(plot.svg(series, field))
            drawings.append(f"![{series.title}](plots/{name})")
    return "\n".join([f"{provenance}\n", report.markdown(head, cells), *drawings])


def quotation(rows: Sequence[Row], note: str = "") -> str:
    """Return the README's table of the cases that are QUOTED and measured, and the note."""
    told = [row for row in rows if row.case.name in QUOTED and row.measured]
    if not told:
        return ""
    peer = told[0].peer
    lines = [f"| | {OURS} | {peer} | ratio | goal |", "|---|---|---|---|---|"]
    for row in told:
        ours, theirs = (report.value_text(row, program) for program in (OURS, peer))
        ratio, goal = report.ratio_text(row), report.goal_text(row)
        lines.append(f"| {row.title} | {ours} | {theirs} | {ratio} | {goal} |")
    return "\n".join([*lines, "", f"{note}.", ""] if note else [*lines, ""])


def quote(rows: Sequence[Row], note: str = "") -> None:
    """Write the table into the README. ValueError where it has no place for it."""
    text, table = README.read_text(), quotation(rows, note)
    if QUOTE_BEGIN not in text or QUOTE_END not in text:
        raise ValueError(f"{README} has no {QUOTE_BEGIN.strip()} … {QUOTE_END.strip()}")
    before, rest = text.split(QUOTE_BEGIN, 1)
    README.write_text(before + QUOTE_BEGIN + table + QUOTE_END + rest.split(QUOTE_END, 1)[1])


def write(sections: Mapping[str, str]) -> None:
    RESULTS.write_text(replaced(RESULTS.read_text(), sections))
