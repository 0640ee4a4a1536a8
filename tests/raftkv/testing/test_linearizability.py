"""The search agrees with known verdicts, with brute force, and can say no."""

import random
import time
from itertools import permutations
from math import inf
from pathlib import Path

import pytest

from raftkv.testing.linearizability import Call, SearchTooLong, check, check_parts
from raftkv.testing.register_model import (
    RegisterModel,
    RegisterRequest,
    Verb,
    parse_jepsen_log,
)

HISTORIES = Path(__file__).parents[4] / "shared" / "linearizability-histories"
SECONDS_MAX = 60
"""For all labelled histories; it takes a tenth of that, or less."""

RegisterCall = Call[RegisterRequest, int]


def read(called: float, returned: float, value: int) -> RegisterCall:
    return Call(RegisterRequest(Verb.READ), called, returned, value)


def write(called: float, returned: float, value: int) -> RegisterCall:
    answer = 1 if returned < inf else None
    return Call(RegisterRequest(Verb.WRITE, new=value), called, returned, answer)


def cas(called: float, returned: float, old: int, new: int, answer: int | None = 1) -> RegisterCall:
    return Call(RegisterRequest(Verb.CAS, new=new, old=old), called, returned, answer)


@pytest.mark.skipif(not HISTORIES.is_dir(), reason="the labelled histories are not here")
@pytest.mark.slow
def test_labelled_histories() -> None:
    """Every published verdict about 102 histories of a real store is ours too."""
    rows = (HISTORIES / "verdicts.tsv").read_text().splitlines()
    began = time.perf_counter()
    slowest, steps = 0.0, 0
    wrong = []
    for name, label in (row.split("\t") for row in rows):
        calls = parse_jepsen_log((HISTORIES / name).read_text().splitlines())
        started = time.perf_counter()
        verdict = check(RegisterModel(), calls)
        slowest = max(slowest, time.perf_counter() - started)
        steps += verdict.steps
        if verdict.linearizable != (label == "linearizable"):
            wrong.append(name)
    seconds = time.perf_counter() - began
    print(f"{len(rows)} histories in {seconds:.2f} s, slowest {slowest:.3f} s, {steps} steps")
    assert len(rows) == 102
    assert not wrong
    assert seconds < SECONDS_MAX


@pytest.mark.parametrize(
    ("calls", "linearizable"),
    [
        ([write(0, 1, 1), read(2, 3, 1)], True),
        ([write(0, 1, 1), read(2, 3, -1)], False),  # stale
        ([write(0, 9, 1), read(1, 2, 1), read(3, 4, -1)], False),  # there and gone again
        ([write(0, 9, 1), read(1, 2, -1), read(3, 4, 1)], True),
        ([write(0, inf, 1), read(2, 3, -1), read(4, 5, 1)], True),  # unknown, and late
        ([write(0, inf, 1), read(2, 3, 1), read(4, 5, -1)], False),
        ([write(4, inf, 1), read(2, 3, 1)], False),  # before it was written
        ([write(0, 1, 1), cas(2, 3, 1, 2), read(4, 5, 2)], True),
        ([write(0, 1, 1), cas(2, 3, 1, 2, 0), read(4, 5, 1)], False),  # should have been done
        ([write(0, 1, 1), cas(2, 3, 7, 2, 1)], False),
        ([write(0, 1, 1), cas(2, 9, 1, 2), cas(2, 9, 1, 3)], False),  # both cannot win
        ([write(0, 1, 1), cas(2, inf, 1, 2, None), cas(3, 9, 2, 3)], True),
        ([], True),
    ],
)
def test_small_histories(calls: list[RegisterCall], linearizable: bool) -> None:
    """Each rule of linearizability by itself."""
    assert check(RegisterModel(), calls).linearizable is linearizable


def brute_force(calls: list[RegisterCall]) -> bool:
    """Try every order of every subset that leaves out unknown calls only."""
    model = RegisterModel()
    known = {at for at, call in enumerate(calls) if call.returned < inf}
    for size in range(len(known), len(calls) + 1):
        for order in permutations(range(len(calls)), size):
            if not known <= set(order):
                continue
            if any(
                calls[order[later]].returned < calls[order[earlier]].called
                for earlier in range(size)
                for later in range(earlier + 1, size)
            ):
                continue
            states = {model.initial()}
            for at in order:
                states = {
                    after
                    for state in states
                    for after in model.step(state, calls[at].request, calls[at].answer)
                }
            if states:
                return True
    return False


def random_call(dice: random.Random) -> RegisterCall:
    called = dice.randrange(12)
    returned = inf if dice.random() < 0.2 else called + dice.randrange(1, 6)
    known = returned < inf
    match dice.randrange(3):
        case 0:
            return read(called, called + 2, dice.choice((-1, 1, 2)))
        case 1:
            return write(called, returned, dice.choice((1, 2)))
        case _:
            answer = dice.randrange(2) if known else None
            return cas(called, returned, dice.choice((1, 2)), dice.choice((1, 2)), answer)


def test_agrees_with_brute_force() -> None:
    """On random histories that are small enough to try every order."""
    dice = random.Random(5)
    verdicts = []
    for _ in range(400):
        calls = [random_call(dice) for _ in range(dice.randrange(1, 6))]
        verdict = check(RegisterModel(), calls)
        assert verdict.linearizable == brute_force(calls), calls
        verdicts.append(verdict.linearizable)
    assert 50 < sum(verdicts) < 350, "the histories prove nothing"


def test_order_is_valid() -> None:
    """The order that it returns contains every answered call and can be replayed."""
    calls = [write(0, 9, 1), write(0, 9, 2), read(1, 2, 2), read(3, 4, 1), write(5, inf, 3)]
    verdict = check(RegisterModel(), calls)
    assert verdict.linearizable
    assert verdict.order.index(1) < verdict.order.index(2) < verdict.order.index(0)
    assert set(verdict.order) >= {0, 1, 2, 3}


def test_gives_up() -> None:
    """A search has a bound, and says that it was reached rather than give a verdict."""
    calls = [write(0, 99, value) for value in range(12)] + [read(100, 101, 77)]
    with pytest.raises(SearchTooLong):
        check(RegisterModel(), calls, steps_max=100)


def test_parts_are_checked_alone() -> None:
    """A violation is found in the object that has it, and only there."""
    calls = [write(0, 1, 1), read(2, 3, 1), cas(4, 5, 9, 9)]
    verdicts = check_parts(RegisterModel(), calls, lambda one: one.verb is Verb.CAS)
    assert {part: one.linearizable for part, one in verdicts.items()} == {False: True, True: False}


def test_refuses_other_logs() -> None:
    with pytest.raises(ValueError, match="line 1"):
        parse_jepsen_log(["hello"])
