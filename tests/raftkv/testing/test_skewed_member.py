"""The clock of a skewed process is as fast as asked, and so are its timers."""

import subprocess
import sys

import pytest

SCRIPT = """
import time
true = time.perf_counter
from raftkv.testing.skewed_member import skew_clock
skew_clock({rate}, 5000.0)
import asyncio

async def main():
    loop = asyncio.get_running_loop()
    began, true_began = loop.time(), true()
    await asyncio.sleep(0.2)
    print(loop.time() - began, true() - true_began)

asyncio.run(main())
"""


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_rate(rate: float) -> None:
    """A sleep of the skewed clock's 0.2 s takes 0.2 s / rate, and no shorter."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(rate=rate)], capture_output=True, text=True, check=True
    )
    skewed_s, true_s = map(float, done.stdout.split())
    assert skewed_s >= 0.2 - 0.001
    assert true_s >= 0.2 / rate - 0.001
    assert skewed_s / true_s == pytest.approx(rate, rel=0.05)
