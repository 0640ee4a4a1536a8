# Counting the live keys of a range, in slices if need be, with the help of what is known of it.

cimport cython
from libc.stdint cimport int64_t
from raftkv._native.mvcc_view cimport MergeCursor, MvccView
from raftkv._native.wire cimport Span

@cython.final
cdef class CountWalk:
    cdef MvccView view
    cdef int64_t counted_at       # the revision to remember places under; 0: none
    cdef Span range_end           # the owner of the walk keeps its bytes
    cdef bytes stop               # the known place where the walk ends; None: at the range's end
    cdef int64_t behind           # live keys from there on
    cdef int64_t met
    cdef int64_t grain
    cdef int64_t until_place      # keys to meet before the next place
    cdef list places
    cdef list mets                # keys met before each place

    # Go on with a cursor over the range that stands where the last slice ended. 1: everything is
    # counted, and `total` says how much; 0: `keys_max` more keys were met.
    cdef int step(self, MergeCursor *at, int64_t keys_max) except -1
    cdef int64_t total(self) noexcept
    cdef int note_place(self, MergeCursor *at) except -1

# A walk from `start` (`inclusive`) or behind it to `range_end`, which is not empty. `counted_at`:
# the revision of the cursors, or 0 where what is seen is still in the making.
cdef CountWalk begin_count(
    MvccView view, Span start, bint inclusive, Span range_end, int64_t counted_at
)
