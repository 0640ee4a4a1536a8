# Walking revisions in order over tree and tables: events for watchers, and the hash of the state.

cimport cython
from libc.stdint cimport int64_t, uint32_t
from raftkv._native.mvcc_view cimport KeyVersion, MvccView
from raftkv._native.wire cimport Buffer

@cython.final
cdef class HistoryWalk:
    cdef MvccView view
    cdef int64_t end              # last main revision to visit
    cdef int64_t next_main        # where to go on: first main revision to visit,
    cdef uint32_t next_sub        # and its first sub revision
    cdef int64_t last_main        # revision of the latest visit
    cdef bint full                # `visit` wants no more

    # Visit every version in [next, end], or until `full`.
    cdef int walk(self) except -1
    cdef int visit(self, const KeyVersion *version) except -1

    # Events: whole revisions, until their bytes pass `bytes_max`.
    cdef list events
    cdef int64_t bytes_max
    cdef int64_t bytes_taken
    cdef Buffer out

    # Both: of what compaction to `compact_revision` keeps, come to yet or not.
    cdef int64_t compact_revision

    cdef bint hashing
    cdef uint32_t crc
    cdef int64_t records_left     # to be hashed in this step

cdef list collect_events(
    MvccView view, int64_t start, int64_t end, int64_t bytes_max, int64_t compact_revision
)

# The hash of a state in the making: what lies below its walk's place is in it. The owner begins
# anew when the compact revision changes, as then other versions count.
@cython.final
cdef class StateHash:
    cdef HistoryWalk walk
    cdef readonly int64_t revision
    cdef readonly int64_t compact_revision
    cdef readonly bint done
    cdef readonly uint32_t value  # once done

    cdef int begin(self, MvccView view, int64_t compact_revision) except -1
    cdef int step(self, int64_t records_max) except -1
