# Walking revisions in order over tree and tables: events for watchers, and the hash of the state.

cimport cython
from libc.stdint cimport int64_t, uint32_t
from raftkv._native.mvcc_view cimport KeyVersion, MvccView
from raftkv._native.wire cimport Buffer

@cython.final
cdef class HistoryWalk:
    cdef MvccView view
    cdef int64_t end              # last main revision to visit
    cdef int64_t last_main        # revision of the latest visit
    cdef bint full                # `visit` wants no more

    cdef int walk(self, int64_t start) except -1
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

cdef list collect_events(
    MvccView view, int64_t start, int64_t end, int64_t bytes_max, int64_t compact_revision
)
cdef uint32_t hash_history(MvccView view, int64_t end, int64_t compact_revision) except? 0
