"""Real members, broken for a short while under load, keep every promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raftkv.pb.etcd import rpc_pb2
from raftkv.testing.availability import NONE, Availability, FaultSpan
from raftkv.testing.history import Operation, Outcome
from raftkv.testing.namespace_cluster import missing_facilities

MINUTES = 40 / 60
TIMEOUT_S = 170


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raftkv.testing.fault_runner", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "COLUMNS": "120"},
    )


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(bool(missing_facilities()), reason="needs root and namespaces")
def test_forty_seconds_of_faults(tmp_path: Path) -> None:
    """All kinds of faults at random: no violation, and nothing is left of networks and disks."""
    done = run(f"--minutes={MINUTES}", "--seed=7", f"--directory={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "violations: 0" in done.stdout
    answered = re.search(r"(\d+) ok", done.stdout)
    assert answered is not None
    assert int(answered[1]) > 1000
    mounts = Path("/proc/self/mounts").read_text()
    assert str(tmp_path) not in mounts
    loops = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    assert not any(str(tmp_path) in one for one in loops)


def test_unknown_faults_are_refused() -> None:
    done = run("--faults=kill,earthquake")
    assert done.returncode == 2
    assert "earthquake" in done.stderr


def put(returned: float, outcome: Outcome = Outcome.OK) -> Operation:
    answer = rpc_pb2.PutResponse()
    return Operation(0, "put", rpc_pb2.PutRequest(), returned - 0.1, answer, returned, outcome)


def test_pauses_are_put_down_to_faults() -> None:
    """A pause counts for the fault that it overlaps or soon follows, and else for none."""
    writes = [put(second) for second in (1, 2, 5, 6, 16, 16.5)]
    writes.append(put(8, Outcome.UNKNOWN))
    spans = [FaultSpan("kill", 0, 2.5, 3.0)]
    availability = Availability()
    availability.add(writes, spans, began=0.5, ended=17)
    assert availability.counts == {"kill": 1}
    assert availability.longest_s == {"kill": 3.0, NONE: 10.0}


def test_no_faults() -> None:
    availability = Availability()
    availability.add([put(1), put(3)], [], began=0.5, ended=3.5)
    assert (availability.counts, availability.longest_s) == ({}, {NONE: 2.0})


def test_a_pause_after_the_next_fault_is_that_ones() -> None:
    writes = [put(second) for second in (1, 2, 3, 4, 9)]
    spans = [FaultSpan("pause", 0, 3.5, 5.0), FaultSpan("kill", 0, 1.5, 1.8)]
    availability = Availability()
    availability.add(writes, spans, began=0.5, ended=9)
    assert availability.longest_s == {"kill": 1.0, "pause": 5.0, NONE: 0.5}


@pytest.mark.slow
def test_on_loopback() -> None:
    """Where there are no namespaces it says so, and touches processes only."""
    done = run("--minutes=0.2", "--seed=7", "--loopback")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill, pause and replace only" in done.stdout
    assert "violations: 0" in done.stdout
    assert run("--loopback", "--faults=partition").returncode == 2
