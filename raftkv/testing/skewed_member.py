"""`python -m raftkv.testing.skewed_member RATE FLAGS...`: a member whose clock runs at RATE.

The monotonic clock that the event loop reads, and with it every timer of the member (elections,
heartbeats, leases), runs RATE times as fast as the true one, from an offset that differs with every
start. The wall clock, which is read once to name a life of the process, is off by up to a day, so
that it jumps from one start to the next. Waits of other threads, which nothing but housekeeping
uses, stay true.
"""

import random
import selectors
import sys
import time

OFFSET_S_MAX = 1e6
WALL_OFFSET_S_MAX = 86_400.0


def skew_clock(rate: float, offset_s: float) -> None:
    """Replace the monotonic clock of this process, and what waits by it in its event loops."""
    true_clock, true_select = time.monotonic, selectors.DefaultSelector.select
    started = true_clock()

    def clock() -> float:
        now = true_clock()
        return started + offset_s + (now - started) * rate

    def select(
        self: selectors.DefaultSelector, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        return true_select(self, timeout if timeout is None else timeout / rate)

    time.monotonic = clock
    selectors.DefaultSelector.select = select  # type: ignore[method-assign]


def shift_wall_clock(offset_s: float) -> None:
    """Let the wall clock of this process be wrong by so much from now on."""
    true_s, true_ns, offset_ns = time.time, time.time_ns, int(offset_s * 1e9)
    time.time = lambda: true_s() + offset_s
    time.time_ns = lambda: true_ns() + offset_ns


def main() -> int:
    """Skew, then run the member as `python -m raftkv` does."""
    skew_clock(float(sys.argv.pop(1)), random.uniform(0, OFFSET_S_MAX))
    shift_wall_clock(random.uniform(-WALL_OFFSET_S_MAX, WALL_OFFSET_S_MAX))
    from raftkv.cli import main as run_member

    return run_member()


if __name__ == "__main__":
    sys.exit(main())
