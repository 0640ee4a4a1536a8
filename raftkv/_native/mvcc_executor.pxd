# Running one KV command over the view: put, delete, range, transaction.
#
# A command either changes nothing and returns an error code, or runs whole. Writes of one command
# share the main revision `revision + 1` and are numbered by `sub`; `finish` makes them current.

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from raftkv._native.mvcc_request cimport Compare, Op
from raftkv._native.mvcc_view cimport KeyVersion, MvccView
from raftkv._native.wire cimport Buffer, Span

@cython.final
cdef class MvccExecutor:
    cdef MvccView view
    cdef uint64_t cluster_id
    cdef uint64_t member_id
    cdef uint64_t raft_term       # for headers of the command that runs
    cdef bytes entry              # that holds the command, for the table to keep; None: copy values
    cdef int64_t revision         # current; 1 in an empty store
    cdef int64_t compact_revision # -1 before the first compaction
    cdef uint32_t sub             # writes made so far by the command that runs
    cdef dict leases              # id -> TTL in seconds
    cdef Buffer path              # branches that a transaction takes, in order of meeting
    cdef size_t path_at           # next one to follow
    cdef bint small_only          # ranges give up where they are not small
    cdef bint uncounted           # ranges stop at their limit
    cdef int64_t keys             # that exist now
    cdef int64_t puts             # operations run since the start, those of transactions included
    cdef int64_t deletes
    cdef int64_t ranges
    cdef int64_t txns             # of more than one operation, as etcd counts them
    cdef int64_t put_bytes        # keys and values of the puts
    cdef int range_error          # first error of a range; etcd tells those of puts before it

    # Each appends a whole response message to `out`, header included, or returns an error code and
    # leaves `out` at a size that the caller must forget.
    cdef int range(self, Span body, Buffer *out) except -1
    cdef int put(self, Span body, Buffer *out) except -1
    cdef int delete_range(self, Span body, Buffer *out) except -1
    cdef int txn(self, Span body, Buffer *out) except -1
    # Set `keys` to what was stored with the state, or count: O(keys).
    cdef int load_keys(self, bytes stored) except -1
    # Delete the keys given, which must be sorted, in one revision.
    cdef int delete_keys(self, list keys) except -1
    # End the command: its writes, if any, are the current revision.
    cdef int64_t finish(self) noexcept nogil
    cdef int write_header(self, Buffer *out, int64_t revision, bint top) except -1

    cdef int run_range(self, Span body, Buffer *out, bint top) except -1
    cdef int run_put(self, Span body, Buffer *out, bint top) except -1
    cdef int run_delete_range(self, Span body, Buffer *out, bint top) except -1
    cdef int run_txn(self, Span body, Buffer *out) except -1
    cdef int run_op(self, Op op, Buffer *out) except -1
    cdef int plan_txn(self, Span body, int depth) except -1
    cdef int plan_op(self, Op op, int depth) except -1
    cdef bint holds(self, const Compare *compare) except -1
    cdef int64_t seen_revision(self) noexcept nogil
    cdef int check_revision(self, int64_t revision) noexcept nogil
    cdef int add_tombstone(self, const KeyVersion *version) except -1
