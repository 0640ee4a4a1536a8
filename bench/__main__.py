"""`python -m bench`: measure raftkv beside a real etcd, or any endpoint of the etcd v3 API."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench import plot, report
from bench.cases import CASES, REAL, SMOKE, Size, find
from bench.cluster import etcd_command, etcd_version, raftkv_command
from bench.compare import OURS, compare
from bench.instructions import run_instructions
from bench.one_load import add_load, run_load
from bench.proof import run_proof
from bench.series import SERIES, Series

RESULTS = Path(__file__).parent / "RESULTS.md"
PLOTS = Path(__file__).parent / "plots"
ROUNDS = 5
SMOKE_SERIES = ("restart-5m",)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    verbs = made.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("compare", help="start both clusters, run the suite, print a table")
    run.add_argument("--peer", choices=["etcd"], default="etcd", help="what to compare with")
    run.add_argument("--members", type=int, default=3, choices=[1, 3, 5])
    run.add_argument(
        "--suite",
        default="",
        help="names, separated by commas: "
        + ", ".join([case.name for case in CASES] + list(SERIES))
        + "; `all`; default: all but the series growth-* and restart-5m, which take long",
    )
    run.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each case, default {ROUNDS}")
    run.add_argument(
        "--smoke", action="store_true", help="one short round: shows that it runs, measures nothing"
    )
    run.add_argument(
        "--write", action="store_true", help="add the tables to bench/RESULTS.md, draw bench/plots"
    )
    run.add_argument("--keys", type=int, help=f"in the store, default {REAL.keys:,}")
    run.add_argument("--seconds", type=float, help=f"of a round, default {REAL.duration_s:g}")
    run.add_argument("--directory", type=Path, help="where data goes; default: temporary")
    add_load(verbs.add_parser("load", help="put one load on an endpoint and print what it did"))
    verbs.add_parser("prove", help="show that the load generator is fast enough and agrees")
    verbs.add_parser("instructions", help="instructions of the hottest paths, under callgrind")
    return made


def chosen(suite: str, smoke: bool) -> tuple[list[str], list[str]]:
    """Return the names of the cases and of the series. ValueError: an unknown name."""
    names = [name.strip() for name in suite.split(",") if name.strip()]
    if names == ["all"]:
        return [case.name for case in CASES], list(SERIES)
    if not names:
        return [case.name for case in CASES], list(SMOKE_SERIES) if smoke else []
    series = [name for name in names if name in SERIES]
    cases = [name for name in names if name not in SERIES]
    return ([case.name for case in find(cases)] if cases else []), series


def sized(options: argparse.Namespace) -> Size:
    """Return how large the run is."""
    size = SMOKE if options.smoke else REAL
    keys = max(100, options.keys or size.keys)
    seconds = max(0.1, options.seconds or size.duration_s)
    return replace(
        size,
        keys=keys,
        range_keys=min(size.range_keys, keys),
        duration_s=seconds,
        warm_up_s=min(size.warm_up_s, seconds / 4),
    )


def run_compare(options: argparse.Namespace, argv: Sequence[str]) -> int:
    console = Console(stderr=True, highlight=False)
    try:
        cases, series_names = chosen(options.suite, options.smoke)
    except ValueError as error:
        console.print(f"bench: {error}")
        return 2
    size, rounds = sized(options), 1 if options.smoke else max(1, options.rounds)
    etcd = etcd_command()
    programs = {OURS: raftkv_command(), options.peer: etcd}

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    sections, found = [], []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as directory:
        if cases:
            data = Path(directory) / "cases"
            rows = compare(programs, find(cases), options.members, data, rounds, size, say)
            head, cells = report.case_cells(rows)
            report.show(f"{options.members} members", head, cells)
            sections.append(report.markdown(head, cells))
        for name in series_names:
            found += SERIES[name](programs, options.members, Path(directory), rounds, size, say)
    for series in found:
        head, cells = report.series_cells(series)
        report.show(series.title, head, cells)
        sections.append(f"{series.title}\n\n{report.markdown(head, cells)}")
    if options.smoke:
        say("A smoke run shows that the benchmarks run; its figures mean nothing.")
    elif options.write:
        command = "python -m bench " + " ".join(argv)
        versions = {OURS: "", options.peer: etcd_version(etcd[0])}
        write(report.heading(options.members, command, versions, rounds), sections, found)
    return 0


def write(heading: str, sections: list[str], found: list[Series]) -> None:
    """Add a section to RESULTS.md; draw the series and name the drawings there."""
    drawings = []
    for series in found:
        PLOTS.mkdir(exist_ok=True)
        for field, ending in (("value", ""), ("p99_ms", "-p99")):
            if field == "value" or any(
                sample.p99_ms for point in series.points for sample in point.medians.values()
            ):
                name = f"{series.name}{ending}.svg"
                (PLOTS / name).write_text(plot.svg(series, field))
                drawings.append(f"![{series.title}](plots/{name})")
    with open(RESULTS, "a") as results:
        results.write("\n" + "\n".join([heading, *sections, *drawings]) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    options = parser().parse_args(argv)
    if options.verb == "load":
        return run_load(options)
    if options.verb == "prove":
        return run_proof()
    if options.verb == "instructions":
        return run_instructions()
    return run_compare(options, argv)


if __name__ == "__main__":
    sys.exit(main())
