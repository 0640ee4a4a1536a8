# One view of all revisions: the active table over the frozen table over the tree on disk.
#
# Pointers in what the view returns live until the next flush is taken over (StateTree.renew), so a
# request may keep them for as long as it runs on the loop's thread.

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from raftkv._native.lmdb cimport MDB_val
from raftkv._native.mem_table cimport KeyNode, MemTable, Record
from raftkv._native.range_counts cimport RangeCounts
from raftkv._native.state_tree cimport IndexCursor, IndexRow, StateTree
from raftkv._native.wire cimport Buffer, Span

cdef enum:
    FOUND_NOTHING = 0
    FOUND_VERSION = 1
    FOUND_TOMBSTONE = 2

cdef struct KeyVersion:
    const uint8_t *key
    size_t key_size
    int64_t main                  # mod_revision
    uint32_t sub
    bint has_value                # False: `load_value` will fetch it from history
    bint has_size                 # `value_size` is known, be the value loaded or not
    MDB_val record                # in history, found by `find_value`; NULL: not yet
    int64_t create_revision
    int64_t version
    int64_t lease
    const uint8_t *value
    size_t value_size

cdef struct MergeCursor:          # ascending keys of a range, each as it was at `revision`
    KeyNode *active
    KeyNode *frozen
    IndexCursor tree
    Span range_end                # of more than one byte, or one that is not NUL: exclusive end
    bint single                   # range_end is empty: at most the one key
    bint unbounded                # range_end is one NUL: no end
    int64_t revision

@cython.final
cdef class MvccView:
    cdef MemTable active
    cdef MemTable frozen          # None when no flush is under way
    cdef StateTree tree
    cdef RangeCounts counts       # of ranges read before; right for as long as the view's state

    # FOUND_*: the newest version of the key at or below `revision`. `out` is set unless NOTHING.
    cdef int lookup(
        self, const uint8_t *key, size_t size, int64_t revision, KeyVersion *out
    ) except -1
    cdef int lookup_row(
        self, const uint8_t *key, size_t size, const IndexRow *row, int64_t revision,
        KeyVersion *out,
    ) except -1
    # Find the value, and have its memory fetched, without waiting for it. Harmless twice.
    cdef int find_value(self, KeyVersion *version) except -1
    cdef int load_value(self, KeyVersion *version) except -1
    # Set `value_size`, from history where the index does not have it.
    cdef int load_size(self, KeyVersion *version) except -1
    # A cursor holds an LMDB cursor: close it with `close_merge`, errors included.
    cdef int open_merge(
        self, MergeCursor *at, Span key, Span range_end, int64_t revision
    ) except -1
    # 1 and the next live version, or 0 at the end.
    cdef int next_version(self, MergeCursor *at, KeyVersion *out) except -1
    # 1 and the key that the cursor comes to next, alive or not; 0 at the end. Not of a single key.
    cdef int next_key(self, MergeCursor *at, const uint8_t **key, size_t *size) except -1
    # Pass `keys_max` live keys, or fewer at the end; returns how many. Versions are looked for
    # only where a key was deleted or made after the cursor's revision.
    cdef int64_t count_alive(self, MergeCursor *at, int64_t keys_max) except -1
    cdef bint row_alive(self, MergeCursor *at) except -1
    # True when a table in memory has any version of the key.
    cdef bint in_memory(self, const uint8_t *key, size_t size) noexcept

cdef void close_merge(MergeCursor *at) noexcept nogil
cdef size_t key_value_size(const KeyVersion *version, bint with_value) noexcept nogil
# `tag`, length, mvccpb.KeyValue. The value must have been loaded if it is wanted.
cdef int write_key_value(
    Buffer *out, uint8_t tag, const KeyVersion *version, bint with_value
) except -1
# mvccpb.Event of a version or tombstone, without prev_kv and without tag.
cdef int write_event(Buffer *out, const KeyVersion *version) except -1
