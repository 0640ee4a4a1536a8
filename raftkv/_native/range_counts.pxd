# How many live keys a range has behind some of its places, remembered for a few ranges.
#
# A list by pages asks again and again for the rest of one range at one revision, and each answer
# says how many keys that rest has. What was alive at a revision never changes, so a walk that has
# counted once leaves places behind, and the next one ends at the first that it meets.

cimport cython
from libc.stdint cimport int64_t
from raftkv._native.wire cimport Span

cdef enum:
    RANGES_KEPT = 8               # the latest used
    PLACES_MAX = 1024             # of one range: where there are more, every other one is forgotten
    PLACE_BYTES_MAX = 512         # no place has a longer key

# A value: what is learned later makes another one.
@cython.final
cdef class CountedRange:
    cdef int64_t revision
    cdef bytes range_end
    cdef list places              # keys, ascending; a place need not be a key that is alive
    cdef list behind              # live keys of the range at or above each place
    cdef int64_t grain            # keys that are counted between two places

    # The number of the first place above `key`, or at it where `inclusive`; -1: there is none.
    cdef Py_ssize_t place_from(self, Span key, bint inclusive) except -2

@cython.final
cdef class RangeCounts:
    cdef list ranges              # the latest used first

    # What is known of the range, or None.
    cdef CountedRange find(self, int64_t revision, Span range_end)
    # Take over what a walk over places, each with the keys met before it, has counted: `total`
    # from its beginning to the range's end.
    cdef int learn(
        self, int64_t revision, Span range_end, list places, list met, int64_t total, int64_t grain
    ) except -1
    cdef int forget(self) except -1

# The grain of a range of which nothing is known.
cdef int64_t first_grain() noexcept
