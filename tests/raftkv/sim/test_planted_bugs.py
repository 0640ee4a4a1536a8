"""The simulator can fail: it catches every bug of a list of planted ones."""

from __future__ import annotations

import pytest

from raftkv.testing.sim.bugs import BUGS, Bug, hunt, planted
from raftkv.testing.sim.world import run
from raftkv.testing.sim.worlds import ordinary

pytestmark = pytest.mark.plain_core


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    """Within the number of seeds that the list states."""
    found = hunt(bug)
    assert found is not None, f"{bug.name} went unnoticed through {bug.seeds_max} seeds"


def test_a_planted_bug_leaves_no_trace() -> None:
    """What is patched is put back: the same world is sound before and after."""
    digest = run(ordinary(1)).digest
    bug = next(bug for bug in BUGS if bug.name == "vote_twice")
    with planted(bug):
        pass
    assert run(ordinary(1)).digest == digest
