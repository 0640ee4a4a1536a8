"""Values that are a number or a percentage of something: `maxSurge: 25%`."""

from __future__ import annotations

import re

_PERCENT_RE = re.compile(r"(\d+)%")


def scaled_value(value: int | str, total: int, *, round_up: bool) -> int:
    """Return `value` itself where it is a number, else that percentage of `total`.

    ValueError for a text that is no percentage.
    """
    if isinstance(value, int):
        return value
    match = _PERCENT_RE.fullmatch(value)
    if match is None:
        raise ValueError("invalid value for IntOrString: invalid type: string is not a percentage")
    product = int(match[1]) * total
    return -(-product // 100) if round_up else product // 100


def is_percent(value: object) -> bool:
    return isinstance(value, str) and _PERCENT_RE.fullmatch(value) is not None
