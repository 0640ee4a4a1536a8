"""Counts of ranges at a revision: see `range_counts.pxd`."""

from bisect import bisect_left, bisect_right

from raftkv._native.wire cimport span_size

cdef int64_t grain_now = 128


def set_grain(int64_t keys):
    global grain_now
    before = grain_now
    if keys < 1:
        raise ValueError("at least one key is counted between two places")
    grain_now = keys
    return before


cdef int64_t first_grain() noexcept:
    return grain_now


cdef inline bytes bytes_of(Span span):
    return (<const char *>span.at)[:span_size(span)]


cdef class CountedRange:
    """One range at one revision."""

    cdef Py_ssize_t place_from(self, Span key, bint inclusive) except -2:
        cdef bytes start = bytes_of(key)
        cdef Py_ssize_t place
        if inclusive:
            place = bisect_left(self.places, start)
        else:
            place = bisect_right(self.places, start)
        return place if place < len(self.places) else -1


cdef class RangeCounts:
    """What is known of a few ranges. One store's; used by its thread alone."""

    def __cinit__(self):
        self.ranges = []

    cdef CountedRange find(self, int64_t revision, Span range_end):
        cdef CountedRange known
        cdef bytes end
        cdef Py_ssize_t i
        if not self.ranges:
            return None
        end = bytes_of(range_end)
        for i in range(len(self.ranges)):
            known = <CountedRange>self.ranges[i]
            if known.revision == revision and known.range_end == end:
                if i:
                    self.ranges.insert(0, self.ranges.pop(i))
                return known
        return None

    cdef int learn(
        self, int64_t revision, Span range_end, list places, list met, int64_t total, int64_t grain
    ) except -1:
        cdef CountedRange known = self.find(revision, range_end)
        cdef CountedRange made
        cdef Py_ssize_t low, high
        cdef list behind
        if not places:
            return 0
        behind = [total - before for before in met]
        if known is not None:
            low = bisect_left(known.places, places[0])
            high = bisect_right(known.places, places[len(places) - 1])
            places = known.places[:low] + places + known.places[high:]
            behind = known.behind[:low] + behind + known.behind[high:]
            grain = max(grain, known.grain)
            self.ranges.remove(known)
        while len(places) > PLACES_MAX:
            places, behind, grain = places[::2], behind[::2], 2 * grain
        made = CountedRange.__new__(CountedRange)
        made.revision = revision
        made.range_end = bytes_of(range_end)
        made.places = places
        made.behind = behind
        made.grain = grain
        self.ranges.insert(0, made)
        del self.ranges[RANGES_KEPT:]
        return 0

    cdef int forget(self) except -1:
        self.ranges.clear()
        return 0
