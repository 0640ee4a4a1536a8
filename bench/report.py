"""Tables of what was measured, for terminals and for RESULTS.md."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date

from rich.console import Console
from rich.table import Table

from bench.compare import OURS, Row, figure
from bench.series import Series

Cells = list[list[str]]


def heading(members: int, command: str, programs: dict[str, str], rounds: int) -> str:
    """Say what was run, where and on what; `programs`: name -> version."""
    versions = " beside ".join(f"{name} {version}".strip() for name, version in programs.items())
    return "\n".join(
        [
            f"## {members} member{'s' if members > 1 else ''}, {date.today().isoformat()}",
            "",
            f"`{command}` at commit {commit()}, {platform.machine()}, {cores()} cores, Linux"
            f" {platform.release().split('-')[0]}; {versions}, medians of {rounds}"
            f" round{'s' if rounds > 1 else ''}; the load generator on the same machine.",
            "",
        ]
    )


def goal_text(row: Row) -> str:
    goal = row.case.goal
    if goal is None:
        return ""
    mark = "met" if row.meets_goal else "missed"
    return f"{'≥' if row.case.more_is_better else '≤'} {goal:g}: {mark}"


def case_cells(rows: list[Row]) -> tuple[list[str], Cells]:
    """Return the header and the cells of the table of cases."""
    peer = rows[0].peer
    head = ["case", OURS, peer, "ratio", "goal", f"p50 / p99 {OURS}, ms", f"p50 / p99 {peer}, ms"]
    head += ["CPU µs/op", "disk B/op"]
    cells = []
    for row in rows:
        line = [f"{row.case.title} (`{row.case.name}`)"]
        line += [f"{figure(row.median(p))} {row.case.unit}".strip() for p in (OURS, peer)]
        line += [f"{row.ratio:.2f} ×", goal_text(row)]
        line += [latency(row, program) for program in (OURS, peer)]
        line += [both(row, "cpu_us", peer), both(row, "written_bytes", peer)]
        cells.append(line)
    return head, cells


def latency(row: Row, program: str) -> str:
    p99 = row.median(program, "p99_ms")
    return f"{figure(row.median(program, 'p50_ms'))} / {figure(p99)}" if p99 else ""


def both(row: Row, field: str, peer: str) -> str:
    ours, theirs = row.median(OURS, field), row.median(peer, field)
    return f"{figure(ours)} / {figure(theirs)}" if ours or theirs else ""


def series_cells(series: Series) -> tuple[list[str], Cells]:
    """Return the header and the cells of the table of a series."""
    programs = list(series.points[0].medians)
    head = [series.axis, *(f"{program}, {series.unit}" for program in programs), "ratio"]
    with_latency = any(s.p99_ms for point in series.points for s in point.medians.values())
    if with_latency:
        head += [f"p99 {program}, ms" for program in programs]
    cells = []
    for point in series.points:
        samples = [point.medians[program] for program in programs]
        ratio = samples[0].value / samples[-1].value if samples[-1].value else 0.0
        line = [point.label, *(figure(sample.value) for sample in samples), f"{ratio:.2f} ×"]
        cells.append(line + ([figure(s.p99_ms) for s in samples] if with_latency else []))
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


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def cores() -> int:
    return len(os.sched_getaffinity(0))
