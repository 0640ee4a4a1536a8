"""The fault runner finds bugs in real members."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from raftkv.testing.fault_runner import FLAGS, FaultRunner
from raftkv.testing.faults import FAULTS
from raftkv.testing.history import Violation
from raftkv.testing.process_cluster import ProcessCluster

SECONDS = 12
SEED = 11


class PlantedCluster(ProcessCluster):
    """All members have one bug."""

    bug = ""

    def program(self, member: int) -> list[str]:
        return [sys.executable, str(Path(__file__).parent / "planted_member.py"), self.bug]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "fault", "promises"),
    [
        ("stale_reads", "pause", {"linearizable", "reads are not stale"}),
        (
            "amnesia",
            "kill all",
            {
                "reads are not stale",
                "linearizable",
                "one revision, one request",
                "answers lie in the history",
                "watches agree",
                "answers follow from the state",
                "events follow from requests",
            },
        ),
        ("hollow_renewals", "restart", {"a renewed lease lives for its TTL"}),
    ],
)
def test_bug_is_found(bug: str, fault: str, promises: set[str], tmp_path: Path) -> None:
    """Each planted bug is found in one short run."""
    cluster = PlantedCluster(3, tmp_path, FLAGS)
    cluster.bug = bug
    with cluster:
        runner = FaultRunner(cluster, [FAULTS[fault]], SEED, Console(file=io.StringIO()))
        with pytest.raises(Violation) as found:
            runner.run(SECONDS)
    assert found.value.promise in promises, found.value
