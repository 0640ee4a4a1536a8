# The replicated state of one member: MVCC keys, leases, meta records, and what of it is on disk.

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from raftkv._native.mem_table cimport MemTable
from raftkv._native.mvcc_executor cimport MvccExecutor
from raftkv._native.mvcc_view cimport MvccView
from raftkv._native.state_flusher cimport StateFlusher
from raftkv._native.state_tree cimport StateTree
from raftkv._native.wire cimport Buffer, Span

cdef enum:
    BATCH_HEADER_BYTES = 20       # u64 origin, u64 batch id, u32 count
    COMMAND_HEADER_BYTES = 5      # u8 kind, u32 length
    KIND_PUT = 1
    KIND_DELETE_RANGE = 2
    KIND_TXN = 3
    KIND_COMPACTION = 4
    KIND_LEASE_GRANT = 5
    KIND_LEASE_REVOKE = 6
    KIND_OPAQUE_MIN = 64
    FREEZE_KEYS = 1 << 15         # a table of so many is flushed: LMDB copies a page for each of
                                  # them where keys are many and random, 4 KiB a key
    SNAPSHOTS_MAX = 16            # open at once; LMDB has 126 places for readers
    OUT_BYTES_KEPT = 4 << 20      # a larger response buffer is given back after use

@cython.final
cdef class MvccStore:
    cdef MvccView view
    cdef MvccExecutor executor
    cdef StateTree tree
    cdef Buffer out
    cdef size_t freeze_bytes      # a table of this size is frozen and flushed
    cdef int64_t txn_ops_max
    cdef dict member_rows         # meta records, key -> value
    cdef dict dirty_rows          # of them, not frozen yet; None: deleted
    cdef dict dirty_leases        # id -> TTL, or None: revoked; not frozen yet
    cdef list lease_changes
    cdef StateFlusher flusher     # what of the state is on disk, and the thread that writes
    cdef object readers           # weak set of the snapshots that are open
    cdef bint closed

    cdef readonly uint64_t applied_index
    cdef readonly uint64_t applied_term

    cdef int load_state(self) except -1
    cdef int load_rows(self) except -1
    cdef object apply_command(self, uint8_t kind, Span body, bint answer)
    cdef int apply_compaction(self, Span body, Buffer *out) except -1
    cdef int apply_lease_grant(self, Span body, Buffer *out) except -1
    cdef int apply_lease_revoke(self, Span body, Buffer *out) except -1
    cdef int add_lease_keys_of_table(self, MemTable table, int64_t lease, set keys) except -1
    cdef int add_lease_keys_of_tree(self, int64_t lease, set keys) except -1
    cdef bint flush_due(self) noexcept
    cdef bint dirty(self) except -1
    cdef int check_open(self) except -1
    cdef int freeze(self) except -1
