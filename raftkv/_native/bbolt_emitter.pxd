# A snapshot of the state as the bbolt file that etcd would have, produced from beginning to end.
#
# The first page names the root, which is the last, so the state is gone through twice: once to
# number the pages, once to write them. Both see the same LMDB snapshot and so the same rows.
#
# bucket "key"    revision (u64 BE main, "_", u64 BE sub; then "t" for a tombstone) ->
#                 mvccpb.KeyValue, of a tombstone the key only; from the tree `history`
# bucket "lease"  u64 BE id -> leasepb.Lease: ID 1, TTL 2; from the tree `leases`
# The other buckets are small and come from the caller.

cimport cython
from libc.stdint cimport uint8_t, uint64_t
from raftkv._native.bbolt_pages cimport PageBuilder
from raftkv._native.lmdb cimport MDB_cursor, MDB_val
from raftkv._native.snapshot_reader cimport SnapshotReader

cdef enum:
    REVISION_BYTES = 17
    TOMBSTONE_BYTES = 18

@cython.final
cdef class BboltEmitter:
    cdef SnapshotReader snapshot
    cdef PageBuilder pages
    cdef MDB_cursor *cursor       # in the tree of the current bucket; NULL: before its first row
    cdef MDB_val key, value
    cdef list buckets             # of (name, rows, or None where they come from a tree), sorted
    cdef list roots               # root page of each bucket that is finished
    cdef uint64_t root            # of the outermost bucket, once it is known
    cdef uint64_t pages_total     # as the first pass found
    cdef bint passed              # the pass under way has come to its end

    cdef readonly uint64_t total_bytes    # of the file; 0: not measured yet

    cdef int go(self, size_t bytes_max, size_t rows_max) except -1
    cdef int add_rows(self, object rows, unsigned int flags) except -1
    cdef int finish_file(self) except -1
    # Add rows of the tree until one of the limits, or its end; an LMDB status.
    cdef int add_tree(self, bint leases, size_t bytes_max, size_t rows_max) noexcept nogil
    cdef int add_version(self) noexcept nogil
    cdef int add_lease(self) noexcept nogil
