# Bringing the memory table to the tree: one thread that flushes frozen tables and compacts.
#
# The loop freezes, the thread writes, the loop takes over. One job at a time, so the tree has one
# writer and the loop's snapshot changes only when the loop says so.

cimport cython
from libc.stdint cimport int64_t, uint64_t
from raftkv._native.mvcc_view cimport MvccView
from raftkv._native.wire cimport Buffer

cdef enum:
    COMPACT_RECORDS_MAX = 2000    # looked at by one background transaction
    REST_NS_MIN = 1_000_000       # between two steps of a flush that is in time
    REST_NS_MAX = 20_000_000

@cython.final
cdef class StateFlusher:
    cdef MvccView view
    cdef object pool              # of one thread
    cdef object job               # its future, or None
    cdef bint compacting          # `job` is a compaction step, not a flush
    cdef bint hurry               # somebody waits for the flush under way: no rests
    cdef object failure           # the StoreIOError that stopped the store, or None
    cdef Buffer side_rows         # leases and meta data that go with the frozen table

    # What the frozen table covers.
    cdef uint64_t frozen_index
    cdef int64_t frozen_revision
    cdef int64_t frozen_compact_revision

    # What the disk covers.
    cdef uint64_t flushed_index
    cdef uint64_t flushed_term
    cdef bytes flushed_keys                   # how many keys there are, i64; None: not stored
    cdef int64_t flushed_revision
    cdef int64_t flushed_compact_revision
    cdef int64_t compact_position             # next main revision that compaction looks at
    cdef int64_t compacted_revision           # compaction is worked off up to here; -1: never

    cdef int load(self, uint64_t cluster_id, uint64_t member_id) except -1
    cdef int write_identity(self, uint64_t cluster_id, uint64_t member_id) except -1
    # True when no job runs; a finished one has been taken over.
    cdef bint idle(self) except -1
    cdef bint running(self) except -1
    # Let the thread finish what it has begun, and take that over.
    cdef int wait(self) except -1
    # Make sure that the tree lets one more reader begin: wait where its spare snapshot is taken.
    cdef int allow_reader(self) except -1
    # Take the state in `file` instead of all that is here, tables and tree.
    cdef int install(self, str file, uint64_t cluster_id, uint64_t member_id) except -1
    # Put a new table over the active one, and fix what is written together with that.
    cdef int freeze(
        self, uint64_t index, uint64_t term, int64_t revision, int64_t compact_revision,
        int64_t keys, dict leases, dict rows,
    ) except -1
    # After `freeze`: write in the thread, or here and now.
    cdef int start_flush(self) except -1
    cdef int flush_now(self) except -1
    cdef int start_compaction(self) except -1
    cdef int compact_now(self, int64_t records_max) except -1
    cdef int take_over(self) except -1
    cdef int check_written(self, int status, str doing) except -1
    cdef int close(self) except -1
