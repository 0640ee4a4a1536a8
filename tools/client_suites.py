"""Run the test suites of other people's etcd clients against three members of raftkv.

    python tools/client_suites.py [aetcd] [etcd3] [etcd3gw]

Each suite comes from its source distribution on PyPI, runs in a virtual environment of its own
below .stamps/, and is started as its authors start it: by `pifpaf run etcd --cluster`, which finds
raftkv under the name etcd. The ports 2379 to 2384 must be free. Fails where fewer cases pass than
against etcd 3.5.30.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".stamps" / "client-suites"
BIN = Path(sys.executable).parent
PORTS = range(2379, 2385)
TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Suite:
    """One client's tests, and what they need."""

    name: str
    version: str
    needs: tuple[str, ...]
    arguments: tuple[str, ...]
    """Of pytest, in the unpacked distribution."""
    passed: int
    """Cases that pass against etcd 3.5.30."""


SUITES = (
    Suite(
        "aetcd",
        "1.0.0",
        ("pytest<10", "pytest-asyncio==1.3.0", "pytest-mock==3.15.1"),
        ("--with-cluster", "-o", "addopts=", "-o", "asyncio_mode=auto"),
        93,
    ),
    Suite(
        "etcd3",
        "0.12.0",
        ("setuptools<80", "protobuf<3.21", "pytest<7", "hypothesis<5", "tenacity<7", "mock"),
        ("tests", "-W", "ignore"),
        81,
    ),
    Suite("etcd3gw", "2.7.0", ("pytest<10", "testtools", "oslotest"), ("etcd3gw/tests",), 39),
)


def main() -> int:
    """Run the suites that are named, all by default; returns the exit code."""
    wanted = sys.argv[1:] or [suite.name for suite in SUITES]
    unknown = set(wanted) - {suite.name for suite in SUITES}
    if unknown:
        print(f"no such suite: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    taken = [port for port in PORTS if is_taken(port)]
    if taken:
        print(f"ports are in use: {', '.join(map(str, taken))}", file=sys.stderr)
        return 2
    WORK.mkdir(parents=True, exist_ok=True)
    pifpaf = environment("pifpaf", ("pifpaf",)) / "pifpaf"
    good = [run(suite, pifpaf) for suite in SUITES if suite.name in wanted]
    return 0 if all(good) else 1


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def environment(name: str, needs: tuple[str, ...]) -> Path:
    """Return the directory of programs of a virtual environment that has what is needed."""
    directory = WORK / f"venv-{name}"
    if not (directory / "ready").exists():
        venv.create(directory, with_pip=True, clear=True)
        install = (str(directory / "bin" / "python"), "-m", "pip", "install", "-q", *needs)
        subprocess.run(install, check=True)
        (directory / "ready").touch()
    return directory / "bin"


def unpacked(suite: Suite, programs: Path) -> Path:
    """Return the suite's source distribution, fetched and unpacked where it is not yet."""
    directory = WORK / f"{suite.name}-{suite.version}"
    if not directory.exists():
        fetch = (str(programs / "python"), "-m", "pip", "download", "-q", "--no-deps")
        source = ("--no-binary", suite.name, "-d", str(WORK), f"{suite.name}=={suite.version}")
        subprocess.run((*fetch, *source), check=True)
        with tarfile.open(WORK / f"{suite.name}-{suite.version}.tar.gz") as archive:
            archive.extractall(WORK, filter="data")
    return directory


def run(suite: Suite, pifpaf: Path) -> bool:
    """Run one suite and tell how many of its cases passed."""
    programs = environment(suite.name, (*suite.needs, f"{suite.name}=={suite.version}"))
    source = unpacked(suite, programs)
    pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir=.")
    tests = (str(programs / "python"), *pytest)
    with tempfile.TemporaryDirectory() as links:
        (Path(links) / "etcd").symlink_to(BIN / "raftkv")
        done = subprocess.run(
            (
                str(pifpaf),
                "-e",
                "PYTHON",
                "run",
                "etcd",
                "--cluster",
                "--",
                *tests,
                *suite.arguments,
            ),
            cwd=source,
            # etcd3 skips what etcd before 3.3 did not have, unless it is told.
            env={
                **os.environ,
                "TEST_ETCD_VERSION": "v3.3.9",
                "PATH": f"{links}:{BIN}:{os.environ['PATH']}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    counts = re.findall(r"(\d+) passed", done.stdout)
    passed = int(counts[-1]) if counts else 0
    good = passed >= suite.passed
    if not good:
        print(done.stdout)
    verdict = "ok" if good else "FAILED"
    told = f"{suite.name} {suite.version}: {passed} passed, {suite.passed} wanted: {verdict}"
    print(told, flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
