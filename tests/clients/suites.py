"""The test suites that other projects publish with their etcd clients, ready to run.

Each has an environment of its own, with the versions that its age needs. Neither suites nor clients
are part of this repository: they come from the package index, once, into `.stamps`.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SUITES", "Suite", "prepare"]

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".stamps" / "suites"
INSTALL_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Suite:
    """A client, and how its tests are run."""

    name: str
    version: str
    requirements: tuple[str, ...]
    """What the tests need beside the client."""
    tests: tuple[str, ...]
    """Arguments of pytest."""
    passes: int
    """How many of its cases pass against etcd 3.5.30."""
    asyncio_mode: bool = False
    """Whether its coroutines are tests without a mark."""


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            name="aetcd",
            version="1.0.0",
            requirements=("pytest", "pytest-asyncio", "pytest-mock", "setuptools<80"),
            tests=("tests", "--with-cluster"),
            passes=93,
            asyncio_mode=True,
        ),
        Suite(
            name="etcd3",
            version="0.12.0",
            requirements=(
                "protobuf<3.21",
                "pytest<7",
                "hypothesis<5",
                "tenacity<7",
                "setuptools<80",
                "mock",
            ),
            tests=("tests",),
            passes=81,
        ),
        Suite(
            name="etcd3gw",
            version="2.7.0",
            requirements=("pytest", "oslotest", "urllib3"),
            tests=("etcd3gw/tests",),
            passes=39,
        ),
    )
}


def prepare(suite: Suite) -> tuple[Path, Path]:
    """Return (interpreter, directory of the sources); downloads and installs the first time."""
    wanted = "\n".join((suite.version, *suite.requirements))
    home = CACHE / f"{suite.name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    python = home / "venv" / "bin" / "python"
    sources = home / f"{suite.name}-{suite.version}"
    ready = home / "ready"
    if not ready.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        _run(sys.executable, "-m", "venv", str(home / "venv"))
        pinned = f"{suite.name}=={suite.version}"
        pip = (str(python), "-m", "pip", "-q", "--disable-pip-version-check")
        _run(*pip, "install", pinned, *suite.requirements)
        _run(*pip, "download", "--no-deps", "--no-binary=:all:", f"--dest={home}", pinned)
        with tarfile.open(home / f"{suite.name}-{suite.version}.tar.gz") as archive:
            archive.extractall(home, filter="data")
        settings = sources / "pytest.ini"
        if suite.asyncio_mode:
            settings.write_text("[pytest]\nasyncio_mode = auto\n")
        else:
            settings.write_text("[pytest]\n")
        ready.touch()
    return python, sources


def _run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
