# Writing the state tree: a memory table, and compaction, both in small transactions.
#
# Both run without the GIL on the flusher's thread; both return an LMDB status (0: committed), and
# leave the tree as the transaction before left it when they fail.
#
# A table is written in steps, because the disk serves the log, too: one large commit would hold up
# every sync meanwhile. History goes first, then the index; what says how far the state is goes
# with the last step. A tree with more history than that revision was left in between, and
# `state_undo` takes it back. Each step's pages are synced before its meta page is written; that
# page itself is synced by the next step, the last one's at once. No step can reuse a page of the
# state that was durable before, because the loop's snapshot is of that.

from libc.stdint cimport int64_t, uint8_t, uint32_t
from raftkv._native.lmdb cimport MDB_txn
from raftkv._native.mem_table cimport KeyNode, MemTable
from raftkv._native.state_tree cimport IndexRow, StateTree
from raftkv._native.wire cimport Buffer

cdef enum:
    SIDE_LEASES = 0
    SIDE_META = 1
    STEP_BYTES = 4 << 20          # of pages that one step may make dirty, about
    # Large records have pages of their own, so that shorter steps make no more of them dirty: the
    # disk is given back to the log the sooner.
    LARGE_RECORD_BYTES = 64 << 10
    LARGE_RECORD_WEIGHT = 4
    PAGE_BYTES = 4096             # what an index row costs: a page of its own where keys are random

cdef struct SideRow:              # header of one row of a side buffer; key and value bytes follow
    uint32_t tree                 # SIDE_*
    uint32_t deleted              # 1: the key is to go
    uint32_t key_size
    uint32_t value_size

cdef struct CompactionStep:
    int64_t target                # revision to compact to; must be flushed
    int64_t position              # in: first main revision to look at; out: where to go on
    int64_t records_max           # look at about this many, whole revisions only
    bint finished                 # out: everything up to `target` was looked at

# Append a row for leases or meta data, to be written by the next `write_table`. None deletes.
cdef int add_side_row(Buffer *rows, uint32_t tree, bytes key, bytes value) except -1

cdef struct TableWrite:           # how far a table is written
    size_t record                 # the next of `order` to go to history
    KeyNode *node                 # the next key to go to the index; NULL: all did
    size_t cost                   # bytes of the step under way
    size_t done                   # records and keys written, of `total`
    size_t total
    bint finished                 # the last step is committed

cdef void begin_table(MemTable table, TableWrite *at) noexcept nogil
# One step: one transaction.
cdef int write_some(
    StateTree tree, MemTable table, const Buffer *side_rows, TableWrite *at
) noexcept nogil
# All steps.
cdef int write_table(StateTree tree, MemTable table, const Buffer *side_rows) noexcept nogil

cdef int compact_some(StateTree tree, CompactionStep *step) noexcept nogil

# Move a version's lease: detach what `old` held and attach what `new` holds; either may be NULL.
cdef int move_lease(
    StateTree tree, MDB_txn *txn, const IndexRow *old, const IndexRow *new
) noexcept nogil
# Set (or with NULL remove) one key longer than INDEX_KEY_BYTES in its bucket, leases included.
cdef int change_bucket(
    StateTree tree, MDB_txn *txn, const uint8_t *key, size_t key_size, const IndexRow *new
) noexcept nogil
