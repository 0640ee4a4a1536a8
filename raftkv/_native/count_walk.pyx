"""Counting the live keys of a range: see `count_walk.pxd`."""

from libc.stdint cimport uint8_t
from raftkv._native.range_counts cimport (
    PLACE_BYTES_MAX,
    PLACES_MAX,
    CountedRange,
    first_grain,
)

cdef int64_t counted = 0


def counted_keys():
    """Return how many keys were met by all counts so far: what they cost, for tests."""
    return counted


cdef class CountWalk:
    """One count under way."""

    cdef int step(self, MergeCursor *at, int64_t keys_max) except -1:
        global counted
        cdef int64_t wanted, met
        if self.stop is not None:
            at.range_end.at = <const uint8_t *>self.stop
            at.range_end.end = at.range_end.at + len(self.stop)
            at.unbounded = False
        while keys_max > 0:
            if self.until_place == 0:
                self.note_place(at)
            wanted = min(keys_max, self.until_place)
            met = self.view.count_alive(at, wanted)
            self.met += met
            counted += met
            self.until_place -= met
            keys_max -= met
            if met < wanted:
                if self.counted_at and self.met >= self.grain:
                    self.view.counts.learn(
                        self.counted_at, self.range_end, self.places, self.mets, self.total(),
                        self.grain)
                return 1
        return 0

    cdef int64_t total(self) noexcept:
        return self.met + self.behind

    cdef int note_place(self, MergeCursor *at) except -1:
        """Remember where the cursor stands; of too many places, forget every other one."""
        cdef const uint8_t *key
        cdef size_t size
        self.until_place = self.grain
        if not self.counted_at or not self.view.next_key(at, &key, &size):
            return 0
        if size > PLACE_BYTES_MAX:
            return 0
        self.places.append((<const char *>key)[:size])
        self.mets.append(self.met)
        if len(self.places) > PLACES_MAX:
            self.places, self.mets, self.grain = self.places[::2], self.mets[::2], 2 * self.grain
        return 0


cdef CountWalk begin_count(
    MvccView view, Span start, bint inclusive, Span range_end, int64_t counted_at
):
    cdef CountWalk walk = CountWalk.__new__(CountWalk)
    cdef CountedRange known = None
    cdef Py_ssize_t place
    walk.view = view
    walk.counted_at = counted_at
    walk.range_end = range_end
    walk.grain = first_grain()
    walk.places = []
    walk.mets = []
    if counted_at:
        known = view.counts.find(counted_at, range_end)
    if known is not None:
        walk.grain = known.grain
        place = known.place_from(start, inclusive)
        if place >= 0:
            walk.stop = <bytes>known.places[place]
            walk.behind = <int64_t>known.behind[place]
    return walk
