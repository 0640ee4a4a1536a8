"""`python -m bench`: measure raftkv beside a real etcd, or any endpoint of the etcd v3 API."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from bench import machine, model, report, results
from bench.case import REAL, SMOKE, Size
from bench.cases import CASES, find
from bench.cluster import etcd_command, etcd_version, raftkv_command
from bench.compare import OURS, Row, Say, compare
from bench.estimate import estimate_s
from bench.instructions import run_instructions
from bench.journal import Journal
from bench.one_load import add_load, run_load
from bench.proof import run_proof
from bench.series import ROUNDS_MAX, SECONDS_MAX, SERIES, Series, Setting

JOURNAL = Path(__file__).parent / ".compare.jsonl"
FAILED = 1
"""Exit status of a comparison some figure of which is missing; 2: a wrong command line."""
ROUNDS = 5
SMOKE_SERIES = ("restart-5m",)
EXIT = (
    "Exits with 0 when everything was measured, whatever the goals; 1 when a case or a size failed,"
    " which its row tells, while all else is measured and written; 2 at a wrong command line."
)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    verbs = made.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser(
        "compare", help="start both clusters, run the suite, print a table", epilog=EXIT
    )
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
        "--write",
        action="store_true",
        help="put the tables into bench/RESULTS.md in place of those of the same titles, draw"
        " bench/plots, and quote the main figures in README.md",
    )
    run.add_argument(
        "--resume",
        action="store_true",
        help=f"go on with a run with --write that was cut, from bench/{JOURNAL.name}",
    )
    run.add_argument("--note", default="", help="what to say with the tables, as of a busy machine")
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
    keys = max(100, (options.keys or size.keys) // 100 * 100)
    seconds = max(0.1, options.seconds or size.duration_s)
    return replace(
        size,
        keys=keys,
        range_keys=min(size.range_keys, keys),
        duration_s=seconds,
        warm_up_s=min(size.warm_up_s, seconds / 4),
    )


def clock(console: Console, whole_s: float) -> Say:
    """Return what prints a line with the minutes so far, of about how many."""
    began = time.monotonic()

    def say(line: str) -> None:
        so_far = (time.monotonic() - began) / 60
        console.print(f"{so_far:5.1f} of {max(1, whole_s / 60):.0f} min  {line}", soft_wrap=True)

    return say


def journal_of(options: argparse.Namespace, size: Size, rounds: int) -> Journal:
    """Return where figures go as they come. ValueError: `--resume` without a fitting file."""
    if options.smoke or not (options.write or options.resume):
        return Journal()
    header = {"commit": report.measured_commit(), "members": options.members, "rounds": rounds}
    header |= asdict(size)
    return Journal.resume(JOURNAL, header) if options.resume else Journal(JOURNAL, header)


def run_compare(options: argparse.Namespace, argv: Sequence[str]) -> int:
    console = Console(stderr=True, highlight=False)
    report.commit()  # that of the beginning is told at the end
    size, rounds = sized(options), 1 if options.smoke else max(1, options.rounds)
    try:
        cases, series_names = chosen(options.suite, options.smoke)
        journal = journal_of(options, size, rounds)
    except ValueError as error:
        console.print(f"bench: {error}")
        return 2
    etcd = etcd_command()
    programs = {OURS: raftkv_command(), options.peer: etcd}
    whole_s = estimate_s(find(cases) if cases else [], series_names, rounds, size)
    console.print(f"This takes about {max(1, whole_s / 60):.0f} minutes where nothing else runs.")
    say = clock(console, whole_s)
    rows: list[Row] = []
    found: list[Series] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as directory:
        if cases:
            data = Path(directory) / "cases"
            try:
                rows = compare(
                    programs, find(cases), options.members, data, rounds, journal, size, say
                )
            except Exception as error:  # neither cluster to fill, perhaps; series have their own
                say(f"no case was measured: {error!r}")
        setting = Setting(programs, options.members, Path(directory), rounds, size, journal, say)
        for name in series_names:
            found += SERIES[name](setting)
        probed = machine.probe(options.directory) if "growth-members" in series_names else None
    show(options.members, rows, found)
    missing = bool(cases and not rows) or any(row.failure for row in rows)
    missing |= any(not point.medians for series in found for point in series.points)
    if options.smoke:
        say("A smoke run shows that the benchmarks run; its figures mean nothing.")
    elif options.write:
        versions = {OURS: "", options.peer: etcd_version(etcd[0])}
        write(options, argv, rows, found, versions, size, rounds)
        if probed:
            how = "the least of three medians of each"
            where = report.provenance(command_of(argv), {}, how, options.note)
            results.write({machine.TITLE: f"{where}\n\n{machine.table(probed)}"})
            model_section(say)
        if not missing:
            journal.remove()
    if missing:
        say("Some figures are missing; the tables say why.")
    return FAILED if missing else 0


def command_of(argv: Sequence[str]) -> str:
    return "python -m bench " + " ".join(argv)


def model_section(say: Say) -> None:
    """Hold the model against what was just measured; sizes that failed are a reason not to."""
    try:
        results.write({model.TITLE: model.section(results.RESULTS.read_text())})
    except (ValueError, KeyError) as error:
        say(f"the model is not compared: {error}")


def show(members: int, rows: list[Row], found: list[Series]) -> None:
    if rows:
        report.show(results.title_of_cases(members), *report.case_cells(rows))
        print(f"{report.remarks(rows)}\n")
    for series in found:
        report.show(series.title, *report.series_cells(series))


def write(
    options: argparse.Namespace,
    argv: Sequence[str],
    rows: list[Row],
    found: list[Series],
    versions: dict[str, str],
    size: Size,
    rounds: int,
) -> None:
    """Put what was measured into RESULTS.md, and what the README quotes into the README."""
    command = command_of(argv)

    def provenance(rounds: int, seconds: float) -> str:
        several = f"{rounds} round{'s' if rounds > 1 else ''} of {seconds:g} s"
        how = f"medians of {several}, over {size.keys:,} keys where nothing else is said"
        return report.provenance(command, versions, how, options.note)

    sections = {}
    if rows:
        title = results.title_of_cases(options.members)
        sections[title] = results.case_section(rows, provenance(rounds, size.duration_s))
    fewer = provenance(min(rounds, ROUNDS_MAX), min(size.duration_s, SECONDS_MAX))
    for series in found:
        sections[series.title] = results.series_section(series, fewer)
    results.write(sections)
    if options.members == 3 and {row.case.name for row in rows} >= set(results.QUOTED):
        results.quote(rows, options.note)


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
