"""Token buckets, and how flags describe them. Time is an argument."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

__all__ = ["RateLimit", "RateLimitConfig", "TokenBucket", "parse_prefix_limits", "parse_rate_limit"]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests a second in the long run, and so many at once after a pause."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class RateLimitConfig:
    """What one member limits; nothing where both are empty."""

    per_user: RateLimit | None = None
    per_prefix: dict[bytes, RateLimit] = field(default_factory=dict)


class TokenBucket:
    """Starts full; refills at the limit's rate."""

    __slots__ = ("_filled_at", "_limit", "_tokens")

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._tokens = float(limit.burst)
        self._filled_at = now

    def take(self, count: int, now: float) -> bool:
        """Take `count` tokens, or none where there are fewer. `now`: seconds, never backwards.

        A request for more than the burst passes when the bucket is full, and leaves a debt.
        """
        self._refill(now)
        if self._tokens < min(count, self._limit.burst):
            return False
        self._tokens -= count
        return True

    def give_back(self, count: int) -> None:
        """Undo a `take`."""
        self._tokens = min(float(self._limit.burst), self._tokens + count)

    def is_full(self, now: float) -> bool:
        """Say whether the bucket is as good as a new one."""
        self._refill(now)
        return self._tokens >= self._limit.burst

    def _refill(self, now: float) -> None:
        gained = (now - self._filled_at) * self._limit.per_s
        self._tokens = min(float(self._limit.burst), self._tokens + gained)
        self._filled_at = now


_RATE = re.compile(r"(\d+(?:\.\d+)?)(?::(\d+))?")


def parse_rate_limit(text: str) -> RateLimit | None:
    """Read `rate` or `rate:burst`; the burst is by default what a second allows. "" is None.

    Raises ValueError.
    """
    if not text:
        return None
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"want requests per second, or rate:burst, not {text!r}")
    per_s = float(match[1])
    burst = int(match[2]) if match[2] else max(1, math.ceil(per_s))
    if per_s <= 0 or burst < 1:
        raise ValueError(f"rate and burst must be above zero, not {text!r}")
    return RateLimit(per_s, burst)


def parse_prefix_limits(text: str) -> dict[bytes, RateLimit]:
    """Read `prefix=rate[:burst],...`. Raises ValueError."""
    limits: dict[bytes, RateLimit] = {}
    for one in filter(None, text.split(",")):
        prefix, equals, rate = one.rpartition("=")
        limit = parse_rate_limit(rate)
        if not equals or not prefix or limit is None:
            raise ValueError(f"want prefix=rate[:burst], not {one!r}")
        limits[prefix.encode()] = limit
    return limits
