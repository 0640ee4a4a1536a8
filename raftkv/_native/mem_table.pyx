"""The memory table of the MVCC store: see `mem_table.pxd` for the layout and contracts.

A skip list after Pugh (1990), branching 4: the first version of a key costs O(log keys), as does
a range. Whoever knows the key goes by its hash, seeded as the interpreter's, so that nobody chooses
keys that collide.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

cdef extern from "Python.h" nogil:
    Py_hash_t hash_bytes "_Py_HashBytes" (const void *data, Py_ssize_t size)

live_tables = 0
"""Tables not yet freed in this process: zero once every store is closed."""


cdef int compare_keys(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size
) noexcept nogil:
    cdef int order = memcmp(a, b, a_size if a_size < b_size else b_size)
    if order:
        return order
    return (a_size > b_size) - (a_size < b_size)


cdef Slot *slot_of(
    Slot *slots, size_t size, uint64_t hash, const uint8_t *key, size_t key_size
) noexcept nogil:
    """The slot that holds the key, or the empty one where it belongs. NULL equals no key."""
    cdef size_t at = hash & (size - 1)
    cdef Slot *slot
    while True:
        slot = &slots[at]
        if slot.node == NULL:
            return slot
        if slot.hash == hash and key != NULL and compare_keys(
                slot.node.key, slot.node.key_size, key, key_size) == 0:
            return slot
        at = (at + 1) & (size - 1)


cdef inline uint32_t bucket_of(int64_t lease) noexcept nogil:
    """Mix the id: clients and servers choose ids with few changing bits."""
    return <uint32_t>((<uint64_t>lease * <uint64_t>0x9E3779B97F4A7C15) >> 32) % LEASE_BUCKETS


cdef Record *lease_bucket(MemTable table, int64_t lease) noexcept nogil:
    return table.lease_buckets[bucket_of(lease)]


@cython.no_gc                     # `sources` holds bytes alone: no cycle, nothing to clear early
cdef class MemTable:
    """Versions of keys in memory. Made and filled by one thread; see the module."""

    def __cinit__(self) -> None:
        global live_tables
        self.random_state = 0x2545F4914F6CDD1D
        self.height = 1
        self.sources = []
        self.head = <KeyNode *>self.allocate(sizeof(KeyNode))
        memset(self.head, 0, sizeof(KeyNode))
        self.head.height = HEIGHT_MAX
        self.bytes_used = 0
        live_tables += 1

    def __dealloc__(self) -> None:
        global live_tables
        cdef Chunk *chunk = self.chunks
        cdef Chunk *before
        while chunk != NULL:
            before = chunk.before
            free(chunk)
            chunk = before
        self.chunks = NULL
        free(self.order)
        free(self.slots)
        live_tables -= 1

    cdef void *allocate(self, size_t size) except NULL:
        """Return `size` bytes, aligned to 8, that live as long as the table."""
        cdef size_t rounded = (size + 7) & ~<size_t>7
        cdef size_t capacity
        cdef Chunk *chunk = self.chunks
        cdef void *memory
        if chunk == NULL or chunk.capacity - chunk.size < rounded:
            capacity = rounded if rounded > ARENA_CHUNK_BYTES else ARENA_CHUNK_BYTES
            chunk = <Chunk *>malloc(sizeof(Chunk) + capacity)
            if chunk == NULL:
                raise MemoryError("no memory for the table of recent revisions")
            chunk.before = self.chunks
            chunk.size = 0
            chunk.capacity = capacity
            self.chunks = chunk
        memory = <uint8_t *>chunk + sizeof(Chunk) + chunk.size
        chunk.size += rounded
        self.bytes_used += rounded
        return memory

    cdef KeyNode *find(self, const uint8_t *key, size_t size) noexcept nogil:
        cdef uint64_t hash
        cdef Slot *slot
        if self.keys == 0:
            return NULL
        hash = <uint64_t>hash_bytes(key, size)
        slot = slot_of(self.slots, self.slots_size, hash, key, size)
        return slot.node

    cdef KeyNode *seek(self, const uint8_t *key, size_t size) noexcept nogil:
        cdef KeyNode *node = self.head
        cdef KeyNode *next
        cdef int level
        for level in range(self.height - 1, -1, -1):
            while True:
                next = node.next[level]
                if next == NULL or compare_keys(next.key, next.key_size, key, size) >= 0:
                    break
                node = next
            self.left[level] = node
        return node.next[0]

    cdef KeyNode *add_node(self, const uint8_t *key, size_t size, uint64_t hash) except NULL:
        """Add a node, without versions, of a key that has none."""
        cdef KeyNode *node
        cdef Slot *slot
        cdef size_t tower
        cdef int level, height
        self.seek(key, size)
        height = self.tower_height()
        tower = sizeof(KeyNode) - (HEIGHT_MAX - height) * sizeof(KeyNode *)
        node = <KeyNode *>self.allocate(tower + size)
        node.newest = NULL
        node.key = <uint8_t *>node + tower
        node.key_size = <uint32_t>size
        node.height = height
        memcpy(<uint8_t *>node + tower, key, size)
        for level in range(height):
            if level >= self.height:
                self.left[level] = self.head
            node.next[level] = self.left[level].next[level]
            self.left[level].next[level] = node
        if height > self.height:
            self.height = height
        slot = slot_of(self.slots, self.slots_size, hash, key, size)
        slot.hash = hash
        slot.node = node
        self.keys += 1
        return node

    cdef int tower_height(self) noexcept nogil:
        """Draw a height: each level has a quarter of the one below (xorshift64)."""
        cdef int height = 1
        cdef uint64_t bits
        self.random_state ^= self.random_state << 13
        self.random_state ^= self.random_state >> 7
        self.random_state ^= self.random_state << 17
        bits = self.random_state
        while bits & 3 == 0 and height < HEIGHT_MAX:
            bits >>= 2
            height += 1
        return height

    cdef Record *add(
        self, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size,
        int64_t main, uint32_t sub, int64_t lease, bytes source,
    ) except NULL:
        self.reserve_order()
        self.reserve_slot()
        cdef uint64_t hash = <uint64_t>hash_bytes(key, key_size)
        cdef KeyNode *node = slot_of(self.slots, self.slots_size, hash, key, key_size).node
        if node == NULL:
            node = self.add_node(key, key_size, hash)
        cdef Record *record = self.add_record(value, value_size, source)
        cdef uint32_t bucket
        record.node = node
        record.main = main
        record.sub = sub
        record.lease = lease
        if lease:
            bucket = bucket_of(lease)
            record.next_in_bucket = self.lease_buckets[bucket]
            self.lease_buckets[bucket] = record
        record.older = node.newest
        node.newest = record
        self.order[self.records] = record
        self.records += 1
        return record

    cdef Record *add_record(
        self, const uint8_t *value, size_t value_size, bytes source
    ) except NULL:
        cdef bint kept = self.keep_source(value, value_size, source)
        cdef size_t copied = 0 if kept else value_size
        cdef Record *record = <Record *>self.allocate(sizeof(Record) + copied)
        memset(record, 0, sizeof(Record))
        record.value = value if kept else <uint8_t *>record + sizeof(Record)
        record.value_size = <uint32_t>value_size
        if copied:
            memcpy(<uint8_t *>record + sizeof(Record), value, copied)
        return record

    cdef bint keep_source(self, const uint8_t *value, size_t value_size, bytes source) except -1:
        cdef size_t size, offset
        cdef Py_ssize_t known
        if value_size < KEPT_VALUE_BYTES_MIN or source is None:
            return False
        size = PyBytes_GET_SIZE(source)
        # A put that ignores its value repeats one from elsewhere: in another table, or on disk.
        offset = <size_t>value - <size_t>PyBytes_AS_STRING(source)
        if 2 * value_size < size or offset > size or value_size > size - offset:
            return False
        # One entry runs at a time, so that it was kept before shows in the last place.
        known = len(self.sources)
        if known == 0 or self.sources[known - 1] is not source:
            self.sources.append(source)
            self.bytes_used += size
        return True

    cdef Record *version_at(self, KeyNode *node, int64_t revision) noexcept nogil:
        cdef Record *record = node.newest
        while record != NULL and record.main > revision:
            record = record.older
        return record

    cdef int reserve_order(self) except -1:
        """Make room for one more record in `order`."""
        cdef size_t capacity
        cdef void *order
        if self.records < self.order_capacity:
            return 0
        capacity = self.order_capacity * 2 if self.order_capacity else 1024
        order = realloc(self.order, capacity * sizeof(Record *))
        if order == NULL:
            raise MemoryError("no memory for the table of recent revisions")
        self.order = <Record **>order
        self.bytes_used += (capacity - self.order_capacity) * sizeof(Record *)
        self.order_capacity = capacity
        return 0

    cdef int reserve_slot(self) except -1:
        """Make room for one more key in `slots`."""
        cdef size_t size, i
        cdef Slot *slots
        cdef Slot *slot
        if 2 * (<size_t>self.keys + 1) <= self.slots_size:
            return 0
        size = self.slots_size * 2 if self.slots_size else SLOTS_MIN
        slots = <Slot *>calloc(size, sizeof(Slot))
        if slots == NULL:
            raise MemoryError("no memory for the table of recent revisions")
        for i in range(self.slots_size):
            if self.slots[i].node != NULL:
                slot = slot_of(slots, size, self.slots[i].hash, NULL, 0)
                slot[0] = self.slots[i]
        free(self.slots)
        self.slots = slots
        self.bytes_used += (size - self.slots_size) * sizeof(Slot)
        self.slots_size = size
        return 0

    cdef size_t position_of(self, int64_t revision) noexcept nogil:
        cdef size_t low = 0, high = self.records, middle
        while low < high:
            middle = low + (high - low) // 2
            if self.order[middle].main < revision:
                low = middle + 1
            else:
                high = middle
        return low
