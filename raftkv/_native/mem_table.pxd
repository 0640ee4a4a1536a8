# The memory table: the newest revisions, by key and by revision, until a flush has them.
#
# One skip list of keys, for order, and one hash table of them, for looking one up; each key has its
# versions newest first; `order` has all versions as they were made. Nothing is ever changed but by
# adding, so the flusher may read a frozen table's levels and records while the loop seeks in it.
# All memory but `order`, `slots` and large values comes from an arena, freed as a whole. A large
# value stays where it came, in the bytes of its Raft entry, which the table then owns: a copy would
# cost the loop a page fault for every 4 KiB.

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    HEIGHT_MAX = 16               # of a skip list tower: enough for 4**16 keys at branching 4
    ARENA_CHUNK_BYTES = 1 << 20
    LEASE_BUCKETS = 1024
    SLOTS_MIN = 64                # of the hash table; a power of two, as all its sizes
    KEPT_VALUE_BYTES_MIN = 32 << 10   # a smaller value is copied: there a reference saves little

cdef struct Record:               # one version of one key
    Record *older                 # the version of the same key before it in this table, or NULL
    Record *next_in_bucket        # the version made before it whose lease shares its bucket
    KeyNode *node
    int64_t main                  # Invariant: (main, sub) grows along `order`
    int64_t create_revision       # 0 in a tombstone
    int64_t version               # 0 in a tombstone
    int64_t lease                 # 0: none
    int64_t previous_main         # the key's version before this one, here or on disk; 0: none
    uint32_t previous_sub
    uint32_t sub
    uint32_t value_size
    const uint8_t *value          # behind the record, or in one of the table's `sources`

cdef struct KeyNode:
    Record *newest                # never NULL outside the head
    uint32_t key_size
    int height
    const uint8_t *key
    KeyNode *next[HEIGHT_MAX]     # only the first `height` are allocated

cdef struct Slot:
    uint64_t hash
    KeyNode *node                 # NULL: empty

cdef struct Chunk:
    Chunk *before
    size_t size                   # bytes handed out
    size_t capacity               # bytes after this header

@cython.final
cdef class MemTable:
    cdef Chunk *chunks
    cdef list sources             # bytes that values point into; only added to
    cdef KeyNode *head
    cdef int height               # of the tallest tower
    # The path of the latest `seek`: left[i] is before the key sought, left[i].next[i] is not.
    # The loop's alone.
    cdef KeyNode *left[HEIGHT_MAX]
    cdef uint64_t random_state    # for tower heights only: their layout is not part of the state
    cdef Record *lease_buckets[LEASE_BUCKETS]
    cdef Slot *slots              # calloc'ed; open addressing, at most half full; the loop's alone
    cdef size_t slots_size
    cdef Record **order           # every record, oldest first; malloc'ed
    cdef size_t order_capacity
    cdef readonly size_t bytes_used       # of the arena, `order`, `slots` and whole `sources`
    cdef readonly size_t records          # in `order`
    cdef readonly int64_t keys

    cdef int reserve_order(self) except -1
    cdef int reserve_slot(self) except -1
    cdef int tower_height(self) noexcept nogil
    cdef void *allocate(self, size_t size) except NULL
    # The node of the key, or NULL. O(1): two cache lines where the key is not there, mostly.
    cdef KeyNode *find(self, const uint8_t *key, size_t size) noexcept nogil
    # The first node whose key is >= the given one, or NULL.
    cdef KeyNode *seek(self, const uint8_t *key, size_t size) noexcept nogil
    # Add one version, newer than all there. The key is copied, and so is the value, unless it is
    # large and at least half of `source`, the bytes that it may point into: then the table keeps
    # those, at most twice what it needs. The caller fills create_revision, version, previous_main
    # and previous_sub.
    cdef Record *add(
        self, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size,
        int64_t main, uint32_t sub, int64_t lease, bytes source,
    ) except NULL
    # A zeroed record that has its value.
    cdef Record *add_record(
        self, const uint8_t *value, size_t value_size, bytes source
    ) except NULL
    # Own `source` where the value may go on pointing into it; tells whether it may.
    cdef bint keep_source(self, const uint8_t *value, size_t value_size, bytes source) except -1
    cdef KeyNode *add_node(self, const uint8_t *key, size_t size, uint64_t hash) except NULL
    # The newest version at or below `revision` in this table, or NULL.
    cdef Record *version_at(self, KeyNode *node, int64_t revision) noexcept nogil
    # The position in `order` of the first record of main revision >= `revision`. O(log records).
    cdef size_t position_of(self, int64_t revision) noexcept nogil

cdef inline KeyNode *first_node(MemTable table) noexcept nogil:
    return table.head.next[0]

cdef int compare_keys(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size
) noexcept nogil
cdef Record *lease_bucket(MemTable table, int64_t lease) noexcept nogil
