# Writing the state tree: a memory table in one sorted transaction, and compaction in small ones.
#
# Both run without the GIL on the flusher's thread; both return an LMDB status (0: committed), and
# leave the tree as it was when they fail.

from libc.stdint cimport int64_t, uint8_t, uint32_t
from raftkv._native.mem_table cimport MemTable
from raftkv._native.state_tree cimport StateTree
from raftkv._native.wire cimport Buffer

cdef enum:
    SIDE_LEASES = 0
    SIDE_META = 1

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

cdef int write_table(StateTree tree, MemTable table, const Buffer *side_rows) noexcept nogil

cdef int compact_some(StateTree tree, CompactionStep *step) noexcept nogil
