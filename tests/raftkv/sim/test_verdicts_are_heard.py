"""What a checker raises ends the run, whichever way the member was on when it was raised."""

from __future__ import annotations

import pytest

from raftkv.raft.messages import Entry, Message
from raftkv.testing.safety import SafetyViolation
from raftkv.testing.sim.machine import Machine, ObservedNode
from raftkv.testing.sim.world import World, run
from raftkv.testing.sim.worlds import ordinary


@pytest.mark.parametrize("seed", [4, 7, 11])
@pytest.mark.parametrize("nth", [1, 15, 40, 80])
def test_at_an_entry_that_is_applied(monkeypatch: pytest.MonkeyPatch, seed: int, nth: int) -> None:
    count = 0

    def applying(self: World, machine: Machine, entry: Entry) -> None:
        nonlocal count
        count += 1
        if count == nth:
            raise SafetyViolation("Planted", "to be heard")
        honest(self, machine, entry)

    honest = World.applying
    monkeypatch.setattr(World, "applying", applying)
    with pytest.raises(SafetyViolation, match="Planted"):
        run(ordinary(seed))


@pytest.mark.parametrize("method", ["next_append", "appended", "commit_at_once"])
def test_on_the_short_way(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    count = 0

    def step(self: ObservedNode, message: Message) -> object:
        nonlocal count
        count += 1
        if count == 20:
            raise SafetyViolation("Planted", "to be heard")
        return honest(self, message)

    honest = getattr(ObservedNode, method)
    monkeypatch.setattr(ObservedNode, method, step)
    with pytest.raises(SafetyViolation, match="Planted"):
        run(ordinary(5))
