"""The compiled Raft core does what its source does, message by message."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from raftkv.raft import node
from raftkv.testing.plain_core import VARIABLE
from raftkv.testing.sim.world import run
from raftkv.testing.sim.worlds import WORLDS

SEEDS = (3, 11)
PLAIN = """
import sys
from raftkv.testing.plain_core import use_plain_core
use_plain_core()
from raftkv.raft import node
from raftkv.testing.sim.world import run
from raftkv.testing.sim.worlds import WORLDS
print(node.__file__)
for seed in sys.argv[2:]:
    print(run(WORLDS[sys.argv[1]](int(seed))).digest)
"""


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_traces_are_equal(world: str) -> None:
    command = (sys.executable, "-c", PLAIN, world, *map(str, SEEDS))
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    file, *digests = plain.stdout.split()
    assert file.endswith(".py")
    assert node.__file__ is not None
    assert node.__file__.endswith(".so")
    assert [run(WORLDS[world](seed)).digest for seed in SEEDS] == digests


def test_a_core_that_is_imported_already_stays() -> None:
    code = "import raftkv.raft.log, raftkv.testing.plain_core as it; it.use_plain_core()"
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    refused = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, env=environment
    )
    assert refused.returncode == 1
    assert "the core is imported already" in refused.stderr
