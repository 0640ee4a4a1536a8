"""Revision order over all layers: see `mvcc_history.pxd`.

The hash covers what two members must have in common at the same revision and compact revision: not
the chain of previous versions, nor anything that compaction would remove but has not come to yet.
"""

from libc.stdint cimport uint8_t, uint64_t
from raftkv._native.lmdb cimport (
    MDB_NEXT,
    MDB_NOTFOUND,
    MDB_SET_RANGE,
    MDB_cursor,
    MDB_val,
    mdb_cursor_close,
    mdb_cursor_get,
    mdb_cursor_open,
)
from raftkv._native.mem_table cimport MemTable, Record
from raftkv._native.mvcc_view cimport FOUND_VERSION, write_event
from raftkv._native.state_tree cimport (
    HISTORY_KEY_BYTES,
    HistoryRecord,
    check_status,
    history_key,
)
from raftkv._native.wire cimport buffer_free

cdef enum:
    CRC32C_POLYNOMIAL = 0x82F63B78      # Castagnoli, reflected

cdef uint32_t CRC_TABLE[256]


cdef void fill_crc_table() noexcept nogil:
    cdef uint32_t i, value
    cdef int bit
    for i in range(256):
        value = i
        for bit in range(8):
            value = (value >> 1) ^ (<uint32_t>CRC32C_POLYNOMIAL if value & 1 else 0)
        CRC_TABLE[i] = value


fill_crc_table()


cdef uint32_t crc32c(uint32_t crc, const void *data, size_t size) noexcept nogil:
    cdef const uint8_t *at = <const uint8_t *>data
    cdef size_t i
    crc = ~crc
    for i in range(size):
        crc = CRC_TABLE[(crc ^ at[i]) & 255] ^ (crc >> 8)
    return ~crc


cdef class HistoryWalk:
    """One walk in revision order, which either collects events or hashes."""

    def __dealloc__(self) -> None:
        buffer_free(&self.out)

    cdef int walk(self) except -1:
        walk_tree(self)
        if self.view.frozen is not None:
            walk_table(self, self.view.frozen)
        return walk_table(self, self.view.active)

    cdef int visit(self, const KeyVersion *version) except -1:
        if self.hashing:
            if self.records_left == 0:
                self.full = True
                return 0
            self.records_left -= 1
            return add_to_hash(self, version)
        if version.main <= self.compact_revision and not kept_by_compaction(self, version):
            return 0
        if version.main != self.last_main and self.bytes_taken >= self.bytes_max:
            self.full = True
            return 0
        self.last_main = version.main
        self.out.size = 0
        write_event(&self.out, version)
        self.bytes_taken += self.out.size
        key = version.key[:version.key_size]
        self.events.append((version.main, key, self.out.data[:self.out.size]))
        return 0


cdef inline int moved(HistoryWalk walk, const KeyVersion *version) noexcept:
    """Put the walk behind a version that was visited."""
    if not walk.full:
        walk.next_main = version.main
        walk.next_sub = version.sub + 1
    return 0


cdef int walk_table(HistoryWalk walk, MemTable table) except -1:
    cdef size_t i
    cdef Record *record
    cdef KeyVersion version
    for i in range(table.position_of(walk.next_main), table.records):
        record = table.order[i]
        if walk.full or record.main > walk.end:
            break
        if record.main == walk.next_main and record.sub < walk.next_sub:
            continue
        version.key = record.node.key
        version.key_size = record.node.key_size
        version.main = record.main
        version.sub = record.sub
        version.create_revision = record.create_revision
        version.version = record.version
        version.lease = record.lease
        version.value = record.value
        version.value_size = record.value_size
        version.has_value = True
        walk.visit(&version)
        moved(walk, &version)
    return 0


cdef int walk_tree(HistoryWalk walk) except -1:
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, data
    cdef HistoryRecord record
    cdef KeyVersion version
    cdef uint8_t name[HISTORY_KEY_BYTES]
    history_key(name, walk.next_main, walk.next_sub)
    key.mv_data = name
    key.mv_size = HISTORY_KEY_BYTES
    check_status(
        mdb_cursor_open(walk.view.tree.snapshot, walk.view.tree.history, &cursor), "read history")
    try:
        status = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE)
        while status == 0:
            walk.view.tree.parse_history(key, data, &record)
            if walk.full or record.main > walk.end:
                break
            version.key = record.key
            version.key_size = record.header.key_size
            version.main = record.main
            version.sub = record.sub
            version.create_revision = record.header.create_revision
            version.version = record.header.version
            version.lease = record.header.lease
            version.value = record.value
            version.value_size = record.value_size
            version.has_value = True
            walk.visit(&version)
            moved(walk, &version)
            status = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)
        if status != MDB_NOTFOUND:
            check_status(status, "read history")
    finally:
        mdb_cursor_close(cursor)
    return 0


cdef bint kept_by_compaction(HistoryWalk walk, const KeyVersion *version) except -1:
    """Tell whether compaction leaves this version, which is not above the compact revision.

    Answers are the same before and after it was worked off, and so on every member.
    """
    cdef KeyVersion kept
    if version.version == 0 and version.main < walk.compact_revision:
        return False
    if not walk.view.lookup(version.key, version.key_size, walk.compact_revision, &kept):
        return False
    return kept.main == version.main and kept.sub == version.sub


cdef int add_to_hash(HistoryWalk walk, const KeyVersion *version) except -1:
    cdef int64_t numbers[5]
    if version.main <= walk.compact_revision and not kept_by_compaction(walk, version):
        return 0
    numbers[0] = version.main
    numbers[1] = version.sub
    numbers[2] = version.create_revision
    numbers[3] = version.version
    numbers[4] = version.lease
    walk.crc = crc32c(walk.crc, numbers, sizeof(numbers))
    numbers[0] = version.key_size
    numbers[1] = version.value_size
    walk.crc = crc32c(walk.crc, numbers, 2 * sizeof(int64_t))
    walk.crc = crc32c(walk.crc, version.key, version.key_size)
    walk.crc = crc32c(walk.crc, version.value, version.value_size)
    return 0


cdef list collect_events(
    MvccView view, int64_t start, int64_t end, int64_t bytes_max, int64_t compact_revision
):
    cdef HistoryWalk walk = HistoryWalk()
    walk.view = view
    walk.compact_revision = compact_revision
    walk.end = end
    walk.events = []
    walk.bytes_max = bytes_max
    walk.next_main = max(start, 0)
    walk.walk()
    return walk.events


cdef class StateHash:
    """See the .pxd."""

    cdef int begin(self, MvccView view, int64_t compact_revision) except -1:
        self.walk = HistoryWalk()
        self.walk.view = view
        self.walk.end = self.revision
        self.walk.hashing = True
        self.walk.compact_revision = self.compact_revision = compact_revision
        self.done = False
        return 0

    cdef int step(self, int64_t records_max) except -1:
        self.walk.full = False
        self.walk.records_left = records_max
        self.walk.walk()
        if not self.walk.full:
            self.done = True
            self.value = self.walk.crc
        return 0
