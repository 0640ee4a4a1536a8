"""How long to wait before the next attempt."""

from dataclasses import dataclass
from typing import Protocol


class RandomSource(Protocol):
    """The part of `random.Random` that spreads waits apart."""

    def random(self) -> float:
        """Draw from [0, 1)."""
        ...


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """Exponential growth with jitter."""

    initial_s: float
    maximum_s: float
    factor: float = 2.0
    jitter: float = 0.0
    """Each wait is drawn from [wait, wait × (1 + jitter))."""

    def wait_s(self, failures: int, random: RandomSource | None = None) -> float:
        """Return the wait after `failures` failures in a row; 0 failures give the first wait."""
        # The exponent is bounded first: factor ** 5000 overflows a float.
        grown = self.initial_s * self.factor ** min(failures, 64)
        wait = min(grown, self.maximum_s)
        return wait if random is None else wait * (1 + self.jitter * random.random())


class Backoff:
    """The failures of one thing in a row, and the wait that follows from them."""

    def __init__(self, policy: BackoffPolicy, random: RandomSource) -> None:
        self._policy = policy
        self._random = random
        self._failures = 0

    def next_wait_s(self) -> float:
        """Count one failure and return the time to wait for it."""
        wait = self._policy.wait_s(self._failures, self._random)
        self._failures += 1
        return wait

    def reset(self) -> None:
        """Forget all failures: something worked."""
        self._failures = 0
