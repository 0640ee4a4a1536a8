"""`python -m bench instructions`: what the hottest paths cost in instructions, under callgrind.

Time on a shared machine is noise; instructions hardly change from one run to the next. A path is
run for two counts of units in processes of their own, and the difference is what one unit takes:
what the interpreter and the preparations need cancels out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HOTTEST = {"put": 100, "grpc": 100, "fan_out": 1000}
"""Path of `hot_paths` -> operations of a unit (puts, requests, deliveries)."""
FEW, MANY = 10, 50
TIMEOUT_S = 600


def instructions(name: str, units: int, valgrind: str) -> int:
    """Run so many units of a path under callgrind; returns all instructions of the process."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        done = subprocess.run(
            [
                valgrind,
                "--tool=callgrind",
                f"--callgrind-out-file={Path(directory) / 'out'}",
                sys.executable,
                "-m",
                "bench.hot_paths",
                name,
                str(units),
            ],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not collected:
        raise RuntimeError(f"{name} did not run under callgrind:\n{done.stderr}")
    return int(collected[1])


def run_instructions() -> int:
    """Print the instructions of each path; 1 and a loud word where there is no valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print(
            "NOTHING WAS COUNTED: valgrind is missing (Debian: apt-get install valgrind)",
            file=sys.stderr,
        )
        return 1
    print("| path | instructions per operation |\n|---|---|")
    for name, operations in HOTTEST.items():
        most, least = (instructions(name, units, valgrind) for units in (MANY, FEW))
        print(f"| {name} | {(most - least) / (MANY - FEW) / operations:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_instructions())
