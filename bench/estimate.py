"""How long a comparison takes where nothing else runs: told before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from bench.case import Case, Size
from bench.series import (
    IN_FLIGHT,
    KEY_COUNTS,
    KEYS_DEFAULT,
    MEMBER_COUNTS,
    ROUNDS_MAX,
    SECONDS_MAX,
    STATE_COUNTS,
    VALUE_SIZES,
)

FILL_KEYS_PER_S = 70_000
"""Of three members, on two cores: raftkv does more, etcd less."""
START_S = 4.0
"""Both clusters, until they are healthy, and to stop them."""
ROUND_S = 0.6
"""Of a round beside its duration: connections, watches, who leads, what is still owed."""
DURATIONS = {"memory-1m": 0.0, "watchers-idle-cost": 3.0}
"""Cases whose rounds are not one duration long: how many."""
WATCHES_S = 2.0
"""To open 10,000 watches."""
RATE_SEARCH_ROUNDS = 6
RESTART_S = 2.0


def fills(keys: int) -> float:
    return 2 * keys / FILL_KEYS_PER_S


def cases_s(cases: Sequence[Case], rounds: int, size: Size) -> float:
    if not cases:
        return 0.0
    once = 0.0
    for case in cases:
        once += size.duration_s * DURATIONS.get(case.name, 1.0) + ROUND_S
        once += WATCHES_S if case.name.startswith("watch") else 0.0
    search = RATE_SEARCH_ROUNDS * size.duration_s
    return START_S + fills(size.keys) + search + 2 * rounds * once


def series_s(name: str, rounds: int, size: Size) -> float:
    """Seconds of one series."""
    seconds = min(SECONDS_MAX, size.duration_s) + ROUND_S
    rounds = min(rounds, ROUNDS_MAX)
    full = size.keys >= 1_000_000
    if name == "growth-keys":
        counts = [count if full else min(count, size.keys) for count in KEY_COUNTS]
        return sum(START_S + fills(count) + 2 * rounds * seconds for count in counts)
    if name == "growth-members":
        points = len(MEMBER_COUNTS) * len(IN_FLIGHT)
        return len(MEMBER_COUNTS) * (START_S + fills(KEYS_DEFAULT)) + points * 2 * rounds * seconds
    if name == "growth-values":
        return START_S + len(VALUE_SIZES) * 2 * rounds * seconds
    counts = [count if full else min(count, size.keys) for count in STATE_COUNTS]
    return sum(START_S + fills(count) + 2 * rounds * RESTART_S for count in counts)


def estimate_s(cases: Sequence[Case], series: Sequence[str], rounds: int, size: Size) -> float:
    """Return the seconds that everything takes, roughly, on two quiet cores."""
    return cases_s(cases, rounds, size) + sum(series_s(name, rounds, size) for name in series)
