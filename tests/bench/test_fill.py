"""The benches of big states run at a small size."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.fill import key_of


def test_keys_differ_and_have_sixteen_bytes() -> None:
    keys = {key_of(number) for number in range(1000)}
    assert len(keys) == 1000
    assert {len(key) for key in keys} == {16}


@pytest.mark.slow
def test_a_member_starts_again() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.restart", "--keys=300"],
        capture_output=True,
        text=True,
        timeout=100,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("SIGKILL") == 2
