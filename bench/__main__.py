"""`python -m bench run`: compare raftkv with etcd and print the table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.cluster import etcd_command, raftkv_command
from bench.report import markdown
from bench.suite import compare

SMOKE_SCALE = 0.02


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="start both clusters, run the suite, print a table")
    run.add_argument("--members", type=int, default=3, help="members of each cluster (default 3)")
    run.add_argument("--rounds", type=int, default=5, help="rounds of each case (default 5)")
    run.add_argument(
        "--smoke", action="store_true", help="one short round: shows that it runs, measures nothing"
    )
    run.add_argument("--write", action="store_true", help="add the table to bench/RESULTS.md")
    options = parser.parse_args()
    rounds, scale = (1, SMOKE_SCALE) if options.smoke else (options.rounds, 1.0)
    programs = {"raftkv": raftkv_command(), "etcd": etcd_command()}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        rows = compare(programs, options.members, Path(directory), rounds, scale)
    table = markdown(rows, options.members, f"python -m bench run --members {options.members}")
    print(table)
    if options.smoke:
        print("A smoke run shows that the benchmarks run; its figures mean nothing.")
    elif options.write:
        with open(Path(__file__).parent / "RESULTS.md", "a") as results:
            results.write("\n" + table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
