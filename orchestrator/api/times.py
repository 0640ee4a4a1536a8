"""Times as the API writes them, and durations as `kubectl` shows them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_TIME_RE = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)",
)
UNKNOWN = "<unknown>"


def format_time(moment: datetime) -> str:
    """Write a `Time`: RFC 3339 in UTC, whole seconds. `moment` must carry a zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(moment: datetime) -> str:
    """Write a `MicroTime`: RFC 3339 in UTC, six digits. `moment` must carry a zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Read RFC 3339, fractions cut to microseconds; ValueError for anything else."""
    match = _TIME_RE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    seconds, fraction, zone = match.groups()
    micro = (fraction or "").ljust(6, "0")[:6]
    zone = "+00:00" if zone in "Zz" else zone
    return datetime.fromisoformat(f"{seconds}.{micro}{zone}").astimezone(UTC)


def age(timestamp: str | None, now: datetime) -> str:
    """How long ago `timestamp` was, for a table cell; `<unknown>` where absent or malformed."""
    if not timestamp:
        return UNKNOWN
    try:
        return human_duration(now - parse_time(timestamp))
    except ValueError:
        return UNKNOWN


def human_duration(duration: timedelta) -> str:
    """Render two units at most, as apimachinery's `HumanDuration` does: `119s`, `2m5s`, `3h2m`."""
    seconds = int(duration.total_seconds() // 1)
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 24 * 8:
        return _two(days, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years = days // 365
    if hours < 24 * 365 * 8:
        return _two(years, "y", days % 365, "d")
    return f"{years}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}" + (f"{small}{small_unit}" if small else "")
