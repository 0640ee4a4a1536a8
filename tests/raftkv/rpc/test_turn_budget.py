"""What goes beyond a turn's budget waits, in order, and others come between."""

import asyncio

from raftkv.rpc.turn_budget import TurnBudget


async def test_a_burst_is_spread_over_turns() -> None:
    budget = TurnBudget(bytes_max=100)
    done: list[str] = []

    def answer(name: str) -> None:
        budget.spend(60)
        done.append(name)

    for number in range(5):
        if budget.must_wait():
            budget.defer(lambda number=number: answer(str(number)))  # type: ignore[misc]
        else:
            answer(str(number))
    loop = asyncio.get_running_loop()
    turns = []
    for _ in range(4):
        turns.append("".join(done))
        loop.call_soon(done.append, "|")
        await asyncio.sleep(0)
    assert turns[0] == "01"
    assert "".join(done).replace("|", "") == "01234"
    assert "23|4" in "".join(done).replace("||", "|")


async def test_small_answers_never_wait() -> None:
    budget = TurnBudget(bytes_max=100)
    for _ in range(50):
        budget.spend(1)
        assert not budget.must_wait()
    await asyncio.sleep(0)
    budget.spend(99)
    assert not budget.must_wait()
