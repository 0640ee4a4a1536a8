"""How long to let changes gather before an owner of many children is looked at again."""

from typing import Final

DELAY_PER_CHILD_S: Final = 0.0005
DELAY_S_MAX: Final = 1.0


def batching_delay_s(children: int) -> float:
    """Return the wait after a child's change, in proportion to what a look costs.

    A look at an owner costs O(children), and a roll-out changes each child several times: without
    gathering that is quadratic. Ten children wait 5 ms, a thousand half a second.
    """
    return min(DELAY_S_MAX, children * DELAY_PER_CHILD_S)
