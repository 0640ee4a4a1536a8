"""C surface of the Raft log: its formats on disk and the store's fields."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from raftkv._native.lmdb cimport MDB_dbi, MDB_env, MDB_txn, MDB_val

cdef enum:
    KEY_BYTES = 8                  # index, big-endian, so that bytes sort as indexes
    RECORD_HEADER_BYTES = 13       # term u64 LE, kind u8, crc32 u32 LE of key, term, kind and data
    HARD_STATE_BYTES = 28          # term, vote, commit u64 LE; crc32 u32 LE of these
    BASE_BYTES = 20                # index, term u64 LE; crc32 u32 LE of these

cdef struct Record:
    uint64_t term                  # of the entry
    const uint8_t *data            # borrowed from a bytes object that the caller keeps alive
    size_t size                    # bytes of data
    uint32_t checksum              # crc32 as in RECORD_HEADER_BYTES
    uint8_t kind                   # EntryKind

cdef struct Batch:
    Record *records                # count of them; contiguous from first_index
    size_t count                   # 0: only the meta values are written
    uint64_t first_index           # index of records[0]
    uint64_t old_last_index        # the stored log's last index; what lies between is replaced
    bint has_hard_state            # hard_state is to be written
    uint8_t hard_state[28]

cdef inline void put_u64_be(uint8_t *out, uint64_t value) noexcept nogil:
    cdef int i
    for i in range(8):
        out[i] = <uint8_t>(value >> (56 - 8 * i))

cdef inline uint64_t get_u64_be(const uint8_t *data) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value = (value << 8) | data[i]
    return value

cdef inline void put_u64_le(uint8_t *out, uint64_t value) noexcept nogil:
    cdef int i
    for i in range(8):
        out[i] = <uint8_t>(value >> (8 * i))

cdef inline uint64_t get_u64_le(const uint8_t *data) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value |= <uint64_t>data[i] << (8 * i)
    return value

cdef class LogStore:
    cdef MDB_env *env              # NULL once closed
    cdef MDB_txn *reader           # a read transaction, reset between uses; only under the GIL
    cdef MDB_dbi entries_dbi       # index -> record
    cdef MDB_dbi meta_dbi          # name -> value
    cdef uint64_t base_index       # entries at and below are dropped; 0 in a new log
    cdef uint64_t base_term        # term of the entry at base_index
    cdef uint64_t last             # last index stored; base_index when none is
    cdef readonly str path
    cdef object failure            # the first error of a write; nothing is written after it

    cdef int check_open(self) except -1
    cdef int check_writable(self) except -1
    cdef int check_written(self, str operation, int code) except -1
    cdef int open_env(self, bytes path, size_t map_size) except -1
    cdef int load_bounds(self) except -1
    cdef int begin_read(self) except -1
    cdef bytes read_meta(self, bytes name)
    cdef int write_meta(self, dict items, bint drop_entries) except -1
    cdef object decode(self, uint64_t index, MDB_val *value)
    cdef uint64_t read_term(self, uint64_t index) except? 0
    cdef uint64_t term_for_writer(self, uint64_t index) except? 0
