"""The memory table of the MVCC store: see `mem_table.pxd` for the layout and contracts.

A skip list after Pugh (1990), branching 4. Finding and adding cost O(log keys).
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

live_tables = 0
"""Tables not yet freed in this process: zero once every store is closed."""


cdef int compare_keys(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size
) noexcept nogil:
    cdef int order = memcmp(a, b, a_size if a_size < b_size else b_size)
    if order:
        return order
    return (a_size > b_size) - (a_size < b_size)


cdef inline uint32_t bucket_of(int64_t lease) noexcept nogil:
    """Mix the id: clients and servers choose ids with few changing bits."""
    return <uint32_t>((<uint64_t>lease * <uint64_t>0x9E3779B97F4A7C15) >> 32) % LEASE_BUCKETS


cdef Record *lease_bucket(MemTable table, int64_t lease) noexcept nogil:
    return table.lease_buckets[bucket_of(lease)]


cdef class MemTable:
    """Versions of keys in memory. Made and filled by one thread; see the module."""

    def __cinit__(self) -> None:
        global live_tables
        self.random_state = 0x2545F4914F6CDD1D
        self.height = 1
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
        cdef KeyNode *node = self.seek(key, size)
        if node != NULL and compare_keys(node.key, node.key_size, key, size) == 0:
            return node
        return NULL

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
        self.left_valid = True
        return node.next[0]

    cdef bint path_fits(self, const uint8_t *key, size_t size) noexcept nogil:
        """Tell whether the latest path leads to this key's place.

        No key lies between left[0] and the one after it, so if the key belongs there on the lowest
        level, it does on all: every left[i].next[i] is at or after left[0].next[0].
        """
        cdef KeyNode *before = self.left[0]
        cdef KeyNode *after
        if not self.left_valid:
            return False
        if before != self.head and compare_keys(before.key, before.key_size, key, size) >= 0:
            return False
        after = before.next[0]
        return after == NULL or compare_keys(after.key, after.key_size, key, size) >= 0

    cdef KeyNode *add_node(self, const uint8_t *key, size_t size) except NULL:
        """Return the node of the key, adding one without versions where there is none."""
        cdef KeyNode *node
        cdef size_t tower
        cdef int level, height
        node = self.left[0].next[0] if self.path_fits(key, size) else self.seek(key, size)
        if node != NULL and compare_keys(node.key, node.key_size, key, size) == 0:
            return node
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
        self.left_valid = False
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
        int64_t main, uint32_t sub, int64_t lease,
    ) except NULL:
        self.reserve_order()
        cdef KeyNode *node = self.add_node(key, key_size)
        cdef Record *record = <Record *>self.allocate(sizeof(Record) + value_size)
        cdef uint32_t bucket
        memset(record, 0, sizeof(Record))
        record.node = node
        record.main = main
        record.sub = sub
        record.lease = lease
        record.value = <uint8_t *>record + sizeof(Record)
        record.value_size = <uint32_t>value_size
        if value_size:
            memcpy(<uint8_t *>record + sizeof(Record), value, value_size)
        if lease:
            bucket = bucket_of(lease)
            record.next_in_bucket = self.lease_buckets[bucket]
            self.lease_buckets[bucket] = record
        record.older = node.newest
        node.newest = record
        self.order[self.records] = record
        self.records += 1
        return record

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

    cdef size_t position_of(self, int64_t revision) noexcept nogil:
        cdef size_t low = 0, high = self.records, middle
        while low < high:
            middle = low + (high - low) // 2
            if self.order[middle].main < revision:
                low = middle + 1
            else:
                high = middle
        return low
