# A consistent copy of the state as a stream of chunks, read while writes go on.
#
# chunk    4 bytes magic, u32 sequence, u32 payload bytes, u32 crc32 of all the rest of the chunk,
#          32 bytes digest of what came before, payload
# digest   SHA-256 (the digest before, the payload), 32 NULs before the first chunk: each chunk
#          names everything before it, so a transfer that goes on elsewhere cannot mix snapshots
# payload  rows: u8 tree, u32 key size, u32 value size, key, value; whole rows only
#
# Chunk 0 holds one row of tree ROW_HEADER: cluster id, index, term, revision, compact revision.
# The rows of every tree follow, in key order, without this member's identity. The last chunk holds
# one row of tree ROW_END: how many rows of trees there were. Integers are little-endian.

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from raftkv._native.lmdb cimport MDB_cursor, MDB_txn, MDB_val
from raftkv._native.state_tree cimport StateTree
from raftkv._native.wire cimport Buffer

cdef enum:
    CHUNK_MAGIC = 0x31736B72      # "rks1" in memory
    CHUNK_HEADER_BYTES = 48
    CHUNK_BYTES_MAX = 64 << 20    # but for one larger row
    DIGEST_BYTES = 32
    ROW_HEADER_BYTES = 9
    ROW_HEADER = 250              # tree numbers are smaller
    ROW_END = 255

@cython.final
cdef class SnapshotReader:
    cdef object __weakref__
    cdef StateTree tree           # keeps the environment
    cdef MDB_txn *txn             # NULL: closed
    cdef MDB_cursor *cursor       # NULL: before the first row of `at_tree`
    cdef MDB_val key, value       # the row to send next, where `cursor` is not NULL
    cdef int at_tree              # TREES: all rows are sent; more: the end is, too
    cdef Buffer payload
    cdef uint64_t rows            # sent so far
    cdef object lock              # one call at a time, and none while the store closes
    cdef list places              # per chunk so far: tree, first key, rows before, digest before

    cdef readonly uint32_t next_chunk
    cdef readonly bint finished   # the last chunk was read
    cdef readonly bytes digest    # of all chunks read
    cdef readonly uint64_t cluster_id
    cdef readonly uint64_t index  # what the snapshot covers
    cdef readonly uint64_t term   # of the entry at `index`
    cdef readonly int64_t revision
    cdef readonly int64_t compact_revision
    cdef readonly dict records    # the member records in it

    cdef int begin(self) except -1
    cdef int load(self) except -1
    cdef bytes get_meta(self, bytes name)
    # Append rows to `payload` up to about bytes_max; an LMDB status.
    cdef int fill(self, size_t bytes_max) noexcept nogil
    cdef int move(self) noexcept nogil
    cdef int seek_row(self, bytes key) except -1
    cdef bytes seal(self)
