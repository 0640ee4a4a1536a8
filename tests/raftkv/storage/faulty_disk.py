"""Builds and drives `faulty_disk.c`: children whose writes fail, or are recorded."""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

FAIL_ONCE, FAIL_ALWAYS, SHORT_WRITE, FAIL_LATE = range(4)

HERE = Path(__file__).parent
CHILD_S_MAX = 120


@functools.cache
def built() -> str:
    """Return the path of the built shim; skips the test, loudly, where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("NO C COMPILER: disk faults and power cuts are NOT tested here")
    folder = tempfile.mkdtemp(prefix="faulty-disk-")
    atexit.register(shutil.rmtree, folder)
    library = Path(folder) / "faulty_disk.so"
    source = str(HERE / "faulty_disk.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), source, "-ldl"],
        check=True,
    )
    return str(library)


def run_child(module: str, *arguments: str) -> str:
    """Run a module of this directory under the shim; its output. Fails if it fails."""
    environment = dict(os.environ, LD_PRELOAD=built(), PYTHONPATH=str(HERE.parents[2]))
    done = subprocess.run(
        [sys.executable, "-m", f"tests.raftkv.storage.{module}", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=CHILD_S_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{module} {arguments}: {done.stderr[-4000:]}"
    return done.stdout


class FaultyDisk:
    """In the child: what goes wrong under one directory, and what is recorded of it."""

    def __init__(self, root: str) -> None:
        self._shim = ctypes.CDLL(None)
        self._shim.fault_arm.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int]
        self._shim.fault_calls.restype = ctypes.c_long
        self._shim.fault_root(os.path.realpath(root).encode())

    def arm(self, n: int, error: int, mode: int) -> None:
        """Fail the n-th call from now on that writes, syncs or changes names."""
        self._shim.fault_arm(n, error, mode)

    def disarm(self) -> int:
        """Fail nothing more; returns how many calls failed."""
        return int(self._shim.fault_disarm())

    @property
    def calls(self) -> int:
        """Calls counted since `arm`."""
        return int(self._shim.fault_calls())

    def refuse_asynchronous(self) -> None:
        """Let the kernel have no asynchronous writes from now on."""
        self._shim.fault_refuse_aio()

    def record(self, path: str) -> None:
        """Record everything under the directory in a file, which is outside of it."""
        self._shim.fault_record(path.encode())

    def mark(self, text: str) -> None:
        """Put a mark into the recording."""
        self._shim.fault_mark(text.encode())
