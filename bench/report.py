"""Tables of what was measured, for terminals and for RESULTS.md."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from datetime import date
from functools import cache

from rich.console import Console
from rich.table import Table

from bench.compare import OURS, Row, figure
from bench.series import Series

Cells = list[list[str]]


def provenance(command: str, programs: dict[str, str], how: str, note: str = "") -> str:
    """Say what was run, when, where and on what. `programs`: name -> version; `how`: the rounds."""
    versions = " beside ".join(f"{name} {version}".strip() for name, version in programs.items())
    parts = [
        f"`{command}` at commit {commit()}, {date.today().isoformat()}, {platform.machine()},"
        f" {cores()} cores, Linux {platform.release().split('-')[0]}",
        *([versions, how, "the load generator on the same machine"] if programs else [how]),
    ]
    return "; ".join(parts) + "." + (f" {note}." if note else "")


def goal_text(row: Row) -> str:
    goal = row.case.goal
    if goal is None:
        return ""
    mark = "met" if row.meets_goal else "missed"
    return f"{'≥' if row.case.more_is_better else '≤'} {goal:g}: {mark}"


def ratio_text(row: Row) -> str:
    """Write the ratio; a dash where a refused figure has none."""
    return f"{row.ratio:.2f} ×" if math.isfinite(row.ratio) and row.ratio else "–"


def value_text(row: Row, program: str) -> str:
    value = row.median(program)
    return figure(value) if math.isinf(value) else f"{figure(value)} {row.case.unit}".strip()


def case_cells(rows: list[Row]) -> tuple[list[str], Cells]:
    """Return the header and the cells of the table of cases."""
    peer = rows[0].peer
    head = ["case", OURS, peer, "ratio", "goal", f"p50 / p99 {OURS}, ms", f"p50 / p99 {peer}, ms"]
    head += ["CPU µs/op", "disk B/op"]
    cells = []
    for row in rows:
        line = [f"{row.title} (`{row.case.name}`)"]
        if not row.measured:
            cells.append([*line, "failed", "", "", goal_text_unknown(row), "", "", "", ""])
            continue
        line += [value_text(row, program) for program in (OURS, peer)]
        line += [ratio_text(row), goal_text(row)]
        line += [latency(row, program) for program in (OURS, peer)]
        line += [both(row, "cpu_us", peer), both(row, "written_bytes", peer)]
        cells.append(line)
    return head, cells


def goal_text_unknown(row: Row) -> str:
    """The goal of a case without figures."""
    if row.case.goal is None:
        return ""
    return f"{'≥' if row.case.more_is_better else '≤'} {row.case.goal:g}: unknown"


def remarks(rows: list[Row]) -> str:
    """Say below the table what must be known of single cases, and what failed."""
    lines = [f"`{row.case.name}`: {row.note}." for row in rows if row.note]
    for row in rows:
        if row.failure:
            had = min(len(samples) for samples in row.rounds.values())
            kept = f"; medians of {had} rounds" if had else ""
            lines.append(f"`{row.case.name}` failed, {row.failure}{kept}.")
    return "\n\n".join(lines)


def latency(row: Row, program: str) -> str:
    p99 = row.median(program, "p99_ms")
    return f"{figure(row.median(program, 'p50_ms'))} / {figure(p99)}" if p99 else ""


def both(row: Row, field: str, peer: str) -> str:
    ours, theirs = row.median(OURS, field), row.median(peer, field)
    return f"{figure(ours)} / {figure(theirs)}" if ours or theirs else ""


def series_cells(series: Series) -> tuple[list[str], Cells]:
    """Return the header and the cells of the table of a series."""
    measured = [point for point in series.points if point.medians]
    if not measured:
        return [series.axis, "failed"], [[point.label, point.failure] for point in series.points]
    programs = list(measured[0].medians)
    head = [series.axis, *(f"{program}, {series.unit}" for program in programs), "ratio"]
    extras = [
        (title, field)
        for title, field in (("p99 {}, ms", "p99_ms"), ("CPU {}, µs/op", "cpu_us"))
        if any(getattr(s, field) for point in measured for s in point.medians.values())
    ]
    head += [title.format(program) for title, _ in extras for program in programs]
    cells = []
    for point in series.points:
        if not point.medians:
            cells.append([point.label, f"failed: {point.failure}"] + [""] * (len(head) - 2))
            continue
        samples = [point.medians[program] for program in programs]
        ratio = samples[0].value / samples[-1].value if samples[-1].value else 0.0
        line = [point.label, *(figure(sample.value) for sample in samples), f"{ratio:.2f} ×"]
        line += [figure(getattr(s, field)) for _, field in extras for s in samples]
        cells.append(line)
    return head, cells


def markdown(head: list[str], cells: Cells) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(line) + " |" for line in cells]) + "\n"


def show(title: str, head: list[str], cells: Cells) -> None:
    """Print a table: drawn on a terminal, as markdown elsewhere."""
    console = Console()
    if not console.is_terminal:
        print(f"{title}\n\n{markdown(head, cells)}")
        return
    table = Table(title=title)
    for name in head:
        table.add_column(name, justify="left" if name == head[0] else "right")
    for line in cells:
        met = "red" if any(cell.endswith("missed") for cell in line) else None
        table.add_row(*line, style=met)
    console.print(table)


@cache
def commit() -> str:
    """Return the commit at the first call: others may be made while a comparison runs."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def measured_commit() -> str:
    """Return the last commit that changed what is measured, or what measures."""
    paths = ["raftkv", "bench/*.py", "bench/native", "setup.py"]
    done = subprocess.run(
        ["git", "log", "-1", "--format=%h", "--", *paths], capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def cores() -> int:
    return len(os.sched_getaffinity(0))
