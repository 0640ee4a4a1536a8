# The state on disk: five LMDB trees, read by the loop's thread through one snapshot.
#
# index       key -> IndexRow (40 bytes), tombstones included until compaction. A key longer than
#             INDEX_KEY_BYTES lives in a bucket: its first INDEX_KEY_BYTES bytes, NUL -> every
#             longer key with that beginning, sorted, each as u32 size, IndexRow, key. LMDB limits
#             keys to 511 bytes, etcd does not; a bucket sorts exactly where its keys do.
# history     main u64 BE, sub u32 BE -> HistoryHeader, key, value
# leases      id u64 BE -> TTL in seconds, i64
# lease_keys  id u64 BE, main u64 BE, sub u32 BE -> empty: a live version that holds the lease
# meta        format, identity, applied, revision, compaction, and records under "r/"
#
# Integers in values are little-endian, as the machine has them.

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from raftkv._native.lmdb cimport MDB_cursor, MDB_dbi, MDB_env, MDB_txn, MDB_val

cdef enum:
    TREES = 5
    TREE_META = 4                 # the number of the tree `meta`, in the order above
    INDEX_KEY_BYTES = 480
    INDEX_ROW_BYTES = 40
    HISTORY_KEY_BYTES = 12
    HISTORY_HEADER_BYTES = 40
    LEASE_KEY_BYTES = 20
    BUCKET_ENTRY_BYTES = 4 + INDEX_ROW_BYTES     # before the key itself

cdef struct IndexRow:
    int64_t main
    uint32_t sub
    uint32_t value_room           # bytes of the value + 1; 0: not known, in rows of older programs
    int64_t create_revision       # 0 in a tombstone
    int64_t version               # 0 in a tombstone
    int64_t lease

cdef struct HistoryHeader:
    int64_t create_revision       # 0 in a tombstone
    int64_t version               # 0 in a tombstone
    int64_t lease
    int64_t previous_main         # version of the same key before this one; 0: none
    uint32_t previous_sub
    uint32_t key_size

cdef struct HistoryRecord:        # pointers live until the snapshot is renewed
    int64_t main
    uint32_t sub
    HistoryHeader header
    const uint8_t *key
    const uint8_t *value
    size_t value_size

cdef struct IndexCursor:
    MDB_cursor *cursor            # NULL: closed
    const uint8_t *key            # NULL: past the last row
    size_t key_size
    IndexRow row
    const uint8_t *bucket_at      # the rest of a bucket of long keys; NULL outside of one
    const uint8_t *bucket_end

@cython.final
cdef class StateTree:
    cdef MDB_env *env
    cdef MDB_txn *snapshot        # read-only; renewed by the owner, never older than one flush
    cdef bint in_steps            # a table is being written: what is committed last is no state
    cdef MDB_txn *spare           # while it is: one more snapshot of before, for `open_reader`
    cdef MDB_cursor *finder       # of `history`: looks at its page before it looks at the tree
    cdef MDB_dbi index
    cdef MDB_dbi history
    cdef MDB_dbi leases
    cdef MDB_dbi lease_keys
    cdef MDB_dbi meta
    cdef readonly str path
    cdef size_t map_size
    cdef int lock_file            # descriptor that holds the directory; 0: none

    cdef int lock(self) except -1
    cdef int open_env(self) except -1
    cdef int close_env(self) except -1
    cdef int replace(self, str file) except -1
    cdef int renew(self) except -1
    # Around the writing of a table in steps.
    cdef int begin_steps(self) except -1
    cdef int end_steps(self) noexcept
    # False while steps are written and the spare snapshot has been taken.
    cdef bint can_open_reader(self) noexcept
    # Begin to read a whole state, for whoever ends the transaction.
    cdef int open_reader(self, MDB_txn **txn) except -1
    # 1 and the row, or 0.
    cdef int get_index(self, const uint8_t *key, size_t size, IndexRow *row) except -1
    cdef int get_history(self, int64_t main, uint32_t sub, HistoryRecord *record) except -1
    # The same in two steps, so that the memory may be fetched in between.
    cdef int find_history(self, int64_t main, uint32_t sub, MDB_val *data) except -1
    cdef int parse_history(self, MDB_val key, MDB_val data, HistoryRecord *record) except -1
    cdef int parse_record(self, MDB_val data, HistoryRecord *record) except -1
    # Open at the first key >= `key`.
    cdef int open_cursor(self, IndexCursor *at, const uint8_t *key, size_t size) except -1
    cdef int next_row(self, IndexCursor *at) except -1
    cdef int begin_reading(self) except -1
    cdef int settle(self, IndexCursor *at, int status, MDB_val key, MDB_val data) except -1
    cdef bytes get_meta(self, bytes name)
    cdef list rows_of(self, MDB_dbi dbi, bytes prefix)
    cdef int close(self) except -1

cdef void close_cursor(IndexCursor *at) noexcept nogil
cdef void history_key(uint8_t *out, int64_t main, uint32_t sub) noexcept nogil
cdef void lease_key(uint8_t *out, int64_t lease, int64_t main, uint32_t sub) noexcept nogil
cdef uint64_t read_be64(const uint8_t *data) noexcept nogil
cdef uint32_t read_be32(const uint8_t *data) noexcept nogil
# Step over one bucket entry: 1 and its key and row, 0 at the end, -1 when the bucket is damaged.
cdef int next_bucket_entry(
    const uint8_t **at, const uint8_t *end, const uint8_t **key, size_t *key_size, IndexRow *row
) noexcept nogil
# Refuse a file that ends before its last page: reading there would kill the process.
cdef int check_file_size(MDB_env *env, str file) except -1
# Raise the typed error for an LMDB status; 0 for success.
cdef int check_status(int status, str doing) except -1
