"""Sets of keys as disjoint ranges, for asking whether a whole range is allowed.

A request may touch exactly the keys of its range, so it is allowed when *all* of them lie in the
union of what its user's roles grant. Grants of `[a, c)` and `[b, d)` together allow `[a, d)`, and
so do `[a, b)` and `[b, d)`; `[a, b)` and `[c, d)` do not allow `[a, d)`.
"""

from bisect import bisect_right
from collections.abc import Iterable

__all__ = ["OPEN_END", "KeyRanges", "interval"]

OPEN_END = b"\0"
"""As a range end: no end; everything from the key on."""

Interval = tuple[bytes, bytes | None]
"""[begin, end); None is no end."""


def interval(key: bytes, range_end: bytes) -> Interval:
    """Return the keys that the API means: one key, `[key, range_end)`, or all from `key` on."""
    if not range_end:
        return key, key + b"\0"
    return key, None if range_end == OPEN_END else range_end


class KeyRanges:
    """An unchanging union of intervals."""

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self._begins: list[bytes] = []
        self._ends: list[bytes | None] = []
        for begin, end in sorted(intervals, key=lambda one: one[0]):
            if end is not None and end <= begin:
                continue
            if self._begins and _reaches(self._ends[-1], begin):
                self._ends[-1] = _later(self._ends[-1], end)
            else:
                self._begins.append(begin)
                self._ends.append(end)

    def cover(self, key: bytes, range_end: bytes = b"") -> bool:
        """Tell whether all keys of a request's range are in the union.

        A range that ends before it begins holds no keys; it is covered where its key is. Cost:
        O(log(intervals)).
        """
        begin, end = interval(key, range_end)
        if end is not None and end <= begin:
            begin, end = interval(key, b"")
        place = bisect_right(self._begins, begin) - 1
        return place >= 0 and _contains(self._ends[place], end)


def _reaches(end: bytes | None, begin: bytes) -> bool:
    return end is None or end >= begin


def _later(one: bytes | None, other: bytes | None) -> bytes | None:
    return None if one is None or other is None else max(one, other)


def _contains(end: bytes | None, wanted: bytes | None) -> bool:
    return end is None or (wanted is not None and wanted <= end)
