"""aetcd, an independent client, finds what it expects at every member."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftkv.testing.process_cluster import ProcessCluster

CASES = Path(__file__).with_name("aetcd_cases.py")


@pytest.mark.parametrize("member", [0, 1, 2])
def test_aetcd(three_members: ProcessCluster, member: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)],
        env={**os.environ, "RAFTKV_TEST_PORT": str(three_members.client_ports[member])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
