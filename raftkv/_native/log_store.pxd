"""C surface of the Raft log: the part of liblmdb that it uses, and the store's fields."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "lmdb.h" nogil:
    ctypedef struct MDB_env:
        pass
    ctypedef struct MDB_txn:
        pass
    ctypedef struct MDB_cursor:
        pass
    ctypedef unsigned int MDB_dbi
    ctypedef struct MDB_val:
        size_t mv_size
        void *mv_data
    ctypedef struct MDB_envinfo:
        size_t me_last_pgno
    ctypedef struct MDB_stat:
        unsigned int ms_psize

    ctypedef enum MDB_cursor_op:
        MDB_FIRST
        MDB_LAST
        MDB_NEXT
        MDB_SET_RANGE

    enum:
        MDB_NOTLS
        MDB_NORDAHEAD
        MDB_RDONLY
        MDB_CREATE
        MDB_APPEND
        MDB_RESERVE
        MDB_NOTFOUND
        MDB_MAP_FULL
        MDB_TXN_FULL
        MDB_CORRUPTED
        MDB_PAGE_NOTFOUND
        MDB_INVALID
        MDB_VERSION_MISMATCH
        MDB_PANIC

    char *mdb_strerror(int err)
    int mdb_env_create(MDB_env **env)
    int mdb_env_set_mapsize(MDB_env *env, size_t size)
    int mdb_env_set_maxdbs(MDB_env *env, MDB_dbi dbs)
    int mdb_env_open(MDB_env *env, const char *path, unsigned int flags, unsigned int mode)
    int mdb_env_info(MDB_env *env, MDB_envinfo *info)
    int mdb_env_stat(MDB_env *env, MDB_stat *stat)
    void mdb_env_close(MDB_env *env)
    int mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned int flags, MDB_txn **txn)
    int mdb_txn_commit(MDB_txn *txn)
    void mdb_txn_abort(MDB_txn *txn)
    void mdb_txn_reset(MDB_txn *txn)
    int mdb_txn_renew(MDB_txn *txn)
    int mdb_dbi_open(MDB_txn *txn, const char *name, unsigned int flags, MDB_dbi *dbi)
    int mdb_drop(MDB_txn *txn, MDB_dbi dbi, int delete)
    int mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
    int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned int flags)
    int mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor)
    void mdb_cursor_close(MDB_cursor *cursor)
    int mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op)
    int mdb_cursor_del(MDB_cursor *cursor, unsigned int flags)

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

cdef class LogStore:
    cdef MDB_env *env              # NULL once closed
    cdef MDB_txn *reader           # a read transaction, reset between uses; only under the GIL
    cdef MDB_dbi entries_dbi       # index -> record
    cdef MDB_dbi meta_dbi          # name -> value
    cdef uint64_t base_index       # entries at and below are dropped; 0 in a new log
    cdef uint64_t base_term        # term of the entry at base_index
    cdef uint64_t last             # last index stored; base_index when none is
    cdef readonly str path

    cdef int check_open(self) except -1
    cdef int open_env(self, bytes path, size_t map_size) except -1
    cdef int load_bounds(self) except -1
    cdef int begin_read(self) except -1
    cdef bytes read_meta(self, bytes name)
    cdef int write_meta(self, dict items, bint drop_entries) except -1
    cdef object decode(self, uint64_t index, MDB_val *value)
    cdef uint64_t read_term(self, uint64_t index) except? 0
