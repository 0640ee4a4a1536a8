"""The LMDB trees of the state and their reader: see `state_tree.pxd` for layout and contracts."""

import fcntl
import os
from pathlib import Path

from libc.string cimport memcpy, memset
from posix.unistd cimport close as close_descriptor
from raftkv._native.lmdb cimport (
    MDB_CORRUPTED,
    MDB_CREATE,
    MDB_INVALID,
    MDB_NEXT,
    MDB_NOTFOUND,
    MDB_NOTLS,
    MDB_RDONLY,
    MDB_SET,
    MDB_SET_RANGE,
    MDB_VERSION_MISMATCH,
    MDB_envinfo,
    MDB_stat,
    mdb_cursor_close,
    mdb_cursor_get,
    mdb_cursor_open,
    mdb_cursor_renew,
    mdb_dbi_open,
    mdb_env_close,
    mdb_env_create,
    mdb_env_get_maxkeysize,
    mdb_env_info,
    mdb_env_open,
    mdb_env_set_mapsize,
    mdb_env_set_maxdbs,
    mdb_env_stat,
    mdb_get,
    mdb_set_compare,
    mdb_stat,
    mdb_strerror,
    mdb_txn_abort,
    mdb_txn_begin,
    mdb_txn_commit,
    mdb_txn_renew,
    mdb_txn_reset,
)
from raftkv._native.lmdb_file cimport create_lmdb, missing_bytes
from raftkv._native.mem_table cimport compare_keys

from raftkv.errors import StoreCorruptError, StoreIOError
from raftkv.storage.directory_sync import sync_directory

TREE_NAMES = (b"index", b"history", b"leases", b"lease_keys", b"meta")
"""By tree number."""


cdef extern from "<endian.h>" nogil:
    uint64_t be64toh(uint64_t value)
    uint32_t be32toh(uint32_t value)


cdef int compare_history(const MDB_val *a, const MDB_val *b) noexcept nogil:
    """Compare keys of history as LMDB itself does, bytewise, but as the numbers that they are.

    A large range looks up a version a key, and a look-up compares twenty times.
    """
    cdef uint64_t main_a, main_b
    cdef uint32_t sub_a, sub_b
    if a.mv_size != HISTORY_KEY_BYTES or b.mv_size != HISTORY_KEY_BYTES:
        return compare_keys(
            <const uint8_t *>a.mv_data, a.mv_size, <const uint8_t *>b.mv_data, b.mv_size)
    memcpy(&main_a, a.mv_data, sizeof(main_a))
    memcpy(&main_b, b.mv_data, sizeof(main_b))
    if main_a != main_b:
        return 1 if be64toh(main_a) > be64toh(main_b) else -1
    memcpy(&sub_a, <const uint8_t *>a.mv_data + sizeof(main_a), sizeof(sub_a))
    memcpy(&sub_b, <const uint8_t *>b.mv_data + sizeof(main_b), sizeof(sub_b))
    return (be32toh(sub_a) > be32toh(sub_b)) - (be32toh(sub_a) < be32toh(sub_b))


cdef int check_status(int status, str doing) except -1:
    if status == 0:
        return 0
    text = f"cannot {doing}: {(<bytes>mdb_strerror(status)).decode()}"
    if status == MDB_CORRUPTED or status == MDB_VERSION_MISMATCH or status == MDB_INVALID:
        raise StoreCorruptError(f"{text}: not a state directory of this program, or damaged")
    raise StoreIOError(status if status > 0 else 0, text)


cdef inline void write_be64(uint8_t *out, uint64_t value) noexcept nogil:
    cdef int i
    for i in range(8):
        out[i] = <uint8_t>(value >> (56 - 8 * i))


cdef uint64_t read_be64(const uint8_t *data) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value = value << 8 | data[i]
    return value


cdef uint32_t read_be32(const uint8_t *data) noexcept nogil:
    return (<uint32_t>data[0] << 24 | <uint32_t>data[1] << 16
            | <uint32_t>data[2] << 8 | <uint32_t>data[3])


cdef void history_key(uint8_t *out, int64_t main, uint32_t sub) noexcept nogil:
    write_be64(out, <uint64_t>main)
    out[8] = <uint8_t>(sub >> 24)
    out[9] = <uint8_t>(sub >> 16)
    out[10] = <uint8_t>(sub >> 8)
    out[11] = <uint8_t>sub


cdef void lease_key(uint8_t *out, int64_t lease, int64_t main, uint32_t sub) noexcept nogil:
    write_be64(out, <uint64_t>lease)
    history_key(out + 8, main, sub)


cdef void close_cursor(IndexCursor *at) noexcept nogil:
    if at.cursor != NULL:
        mdb_cursor_close(at.cursor)
        at.cursor = NULL


cdef int next_bucket_entry(
    const uint8_t **at, const uint8_t *end, const uint8_t **key, size_t *key_size, IndexRow *row
) noexcept nogil:
    cdef uint32_t size
    cdef size_t left = end - at[0]
    if left == 0:
        return 0
    if left < BUCKET_ENTRY_BYTES:
        return -1
    memcpy(&size, at[0], 4)
    if size > left - BUCKET_ENTRY_BYTES:
        return -1
    memcpy(row, at[0] + 4, INDEX_ROW_BYTES)
    key[0] = at[0] + BUCKET_ENTRY_BYTES
    key_size[0] = size
    at[0] += BUCKET_ENTRY_BYTES + size
    return 1


cdef int check_file_size(MDB_env *env, str file) except -1:
    missing = missing_bytes(env, file)
    if missing:
        raise StoreCorruptError(
            f"{file} was cut off, {missing} bytes are missing; "
            "remove the member's directory and add the member anew"
        )
    return 0


cdef class StateTree:
    """The open environment. One reader thread; writers take transactions of their own."""

    def __cinit__(self, path: str, map_size: int) -> None:
        self.path = path
        self.map_size = map_size
        try:
            Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(path, 0o700)
            self.lock()
            check_status(create_lmdb(path, TREE_NAMES, map_size), f"create the state in {path}")
            self.open_env()
        except StoreIOError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise StoreIOError(error.errno, f"cannot open {path}: {error.strerror}") from error

    def __dealloc__(self) -> None:
        if self.finder != NULL:
            mdb_cursor_close(self.finder)
        if self.env != NULL:
            self.end_steps()
            if self.snapshot != NULL:
                mdb_txn_abort(self.snapshot)
            mdb_env_close(self.env)
        if self.lock_file > 0:
            close_descriptor(self.lock_file)

    cdef int open_env(self) except -1:
        """Open the file, refuse a damaged one, and begin to read."""
        check_status(mdb_env_create(&self.env), "create an LMDB environment")
        try:
            check_status(mdb_env_set_mapsize(self.env, self.map_size), "set the map size")
            check_status(mdb_env_set_maxdbs(self.env, TREES), "set the number of trees")
            status = mdb_env_open(self.env, os.fsencode(self.path), MDB_NOTLS, 0o600)
            check_status(status, f"open the state in {self.path}")
            if mdb_env_get_maxkeysize(self.env) <= INDEX_KEY_BYTES:
                raise StoreIOError(0, "this liblmdb was built with too small a key size")
            check_file_size(self.env, os.path.join(self.path, "data.mdb"))
            self.open_trees()
            self.begin_reading()
        except BaseException:
            self.close_env()
            raise
        return 0

    cdef int begin_reading(self) except -1:
        check_status(mdb_txn_begin(self.env, NULL, MDB_RDONLY, &self.snapshot), "read the state")
        return check_status(
            mdb_cursor_open(self.snapshot, self.history, &self.finder), "read history")

    cdef int replace(self, str file) except -1:
        """Put another complete, synced file of this directory in the place of the open one.

        One rename: after a crash the directory has the one or the other, whole.
        """
        self.close_env()
        try:
            os.rename(file, os.path.join(self.path, "data.mdb"))
            sync_directory(self.path)
        except OSError as error:
            text = f"cannot install the snapshot in {self.path}: {error.strerror}"
            raise StoreIOError(error.errno, text) from error
        return self.open_env()

    cdef int lock(self) except -1:
        """Take the directory for this store alone: LMDB itself would let a second one in."""
        path = os.path.join(self.path, "owner.lock")
        self.lock_file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            os.close(self.lock_file)
            self.lock_file = 0
            raise StoreIOError(busy.errno, f"{self.path} is in use by a running member") from busy
        return 0

    def open_trees(self) -> None:
        cdef MDB_txn *txn = NULL
        cdef MDB_dbi *trees[TREES]
        cdef int i
        trees[:] = [&self.index, &self.history, &self.leases, &self.lease_keys, &self.meta]
        check_status(mdb_txn_begin(self.env, NULL, 0, &txn), f"write to {self.path}")
        try:
            for i, name in enumerate(TREE_NAMES):
                check_status(mdb_dbi_open(txn, name, MDB_CREATE, trees[i]), "open the trees")
            check_status(mdb_set_compare(txn, self.history, compare_history), "open the trees")
        except BaseException:
            mdb_txn_abort(txn)
            raise
        check_status(mdb_txn_commit(txn), "create the trees")

    cdef int close_env(self) except -1:
        self.end_steps()
        if self.finder != NULL:
            mdb_cursor_close(self.finder)
            self.finder = NULL
        if self.snapshot != NULL:
            mdb_txn_abort(self.snapshot)
            self.snapshot = NULL
        if self.env != NULL:
            mdb_env_close(self.env)
            self.env = NULL
        return 0

    cdef int close(self) except -1:
        """Release everything; harmless when repeated. Cursors must be closed before."""
        self.close_env()
        if self.lock_file > 0:
            os.close(self.lock_file)
            self.lock_file = 0
        return 0

    cdef int renew(self) except -1:
        mdb_txn_reset(self.snapshot)
        check_status(mdb_txn_renew(self.snapshot), "renew the snapshot")
        return check_status(mdb_cursor_renew(self.snapshot, self.finder), "renew the snapshot")

    cdef int begin_steps(self) except -1:
        assert not self.in_steps
        check_status(mdb_txn_begin(self.env, NULL, MDB_RDONLY, &self.spare), "read the state")
        self.in_steps = True
        return 0

    cdef int end_steps(self) noexcept:
        self.in_steps = False
        if self.spare != NULL:
            mdb_txn_abort(self.spare)
            self.spare = NULL
        return 0

    cdef bint can_open_reader(self) noexcept:
        return not self.in_steps or self.spare != NULL

    cdef int open_reader(self, MDB_txn **txn) except -1:
        if not self.in_steps:
            return check_status(
                mdb_txn_begin(self.env, NULL, MDB_RDONLY, txn), "open a snapshot")
        if self.spare == NULL:
            raise ValueError("a flush is under way, and its one snapshot is taken")
        txn[0] = self.spare
        self.spare = NULL
        return 0

    cdef bytes get_meta(self, bytes name):
        """The value under `name`, or None."""
        cdef MDB_val key, data
        key.mv_data = <char *>name
        key.mv_size = len(name)
        cdef int status = mdb_get(self.snapshot, self.meta, &key, &data)
        if status == MDB_NOTFOUND:
            return None
        check_status(status, "read meta data")
        return (<uint8_t *>data.mv_data)[:data.mv_size]

    cdef list rows_of(self, MDB_dbi dbi, bytes prefix):
        """All rows of a tree whose key begins with `prefix`."""
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key, data
        cdef list rows = []
        cdef bytes name
        check_status(mdb_cursor_open(self.snapshot, dbi, &cursor), "read the state")
        try:
            name = prefix or b"\0"
            key.mv_data = <char *>name
            key.mv_size = len(name)
            status = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE)
            while status == 0:
                name = (<uint8_t *>key.mv_data)[:key.mv_size]
                if not name.startswith(prefix):
                    break
                rows.append((name, (<uint8_t *>data.mv_data)[:data.mv_size]))
                status = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)
            if status != MDB_NOTFOUND:
                check_status(status, "read the state")
        finally:
            mdb_cursor_close(cursor)
        return rows

    cdef int get_index(self, const uint8_t *key, size_t size, IndexRow *row) except -1:
        cdef MDB_val name, data
        cdef IndexCursor at
        cdef int status
        if size > INDEX_KEY_BYTES:
            self.open_cursor(&at, key, size)
            close_cursor(&at)
            if at.key == NULL or compare_keys(at.key, at.key_size, key, size):
                return 0
            row[0] = at.row
            return 1
        name.mv_data = <void *>key
        name.mv_size = size
        status = mdb_get(self.snapshot, self.index, &name, &data)
        if status == MDB_NOTFOUND:
            return 0
        check_status(status, "read the index")
        if data.mv_size != INDEX_ROW_BYTES:
            raise StoreCorruptError("an index row of the wrong size")
        memcpy(row, data.mv_data, INDEX_ROW_BYTES)
        return 1

    cdef int get_history(self, int64_t main, uint32_t sub, HistoryRecord *record) except -1:
        cdef MDB_val data
        if not self.find_history(main, sub, &data):
            return 0
        record.main = main
        record.sub = sub
        return self.parse_record(data, record)

    cdef int find_history(self, int64_t main, uint32_t sub, MDB_val *data) except -1:
        cdef MDB_val key
        cdef uint8_t name[HISTORY_KEY_BYTES]
        cdef int status
        history_key(name, main, sub)
        key.mv_data = name
        key.mv_size = HISTORY_KEY_BYTES
        status = mdb_cursor_get(self.finder, &key, data, MDB_SET)
        if status == MDB_NOTFOUND:
            return 0
        check_status(status, "read history")
        return 1

    cdef int parse_history(self, MDB_val key, MDB_val data, HistoryRecord *record) except -1:
        if key.mv_size != HISTORY_KEY_BYTES:
            raise StoreCorruptError("a history record of the wrong size")
        record.main = <int64_t>read_be64(<uint8_t *>key.mv_data)
        record.sub = read_be32(<uint8_t *>key.mv_data + 8)
        return self.parse_record(data, record)

    cdef int parse_record(self, MDB_val data, HistoryRecord *record) except -1:
        if data.mv_size < HISTORY_HEADER_BYTES:
            raise StoreCorruptError("a history record of the wrong size")
        memcpy(&record.header, data.mv_data, HISTORY_HEADER_BYTES)
        if record.header.key_size > data.mv_size - HISTORY_HEADER_BYTES:
            raise StoreCorruptError("a history record whose key passes its end")
        record.key = <uint8_t *>data.mv_data + HISTORY_HEADER_BYTES
        record.value = record.key + record.header.key_size
        record.value_size = data.mv_size - HISTORY_HEADER_BYTES - record.header.key_size
        return 1

    cdef int open_cursor(self, IndexCursor *at, const uint8_t *key, size_t size) except -1:
        cdef MDB_val name, data
        cdef uint8_t prefix[INDEX_KEY_BYTES + 1]
        memset(at, 0, sizeof(IndexCursor))
        check_status(mdb_cursor_open(self.snapshot, self.index, &at.cursor), "read the index")
        name.mv_data = <void *>key
        name.mv_size = size
        if size > INDEX_KEY_BYTES:
            memcpy(prefix, key, INDEX_KEY_BYTES)
            prefix[INDEX_KEY_BYTES] = 0
            name.mv_data = prefix
            name.mv_size = INDEX_KEY_BYTES + 1
        try:
            status = mdb_cursor_get(at.cursor, &name, &data, MDB_SET_RANGE)
            self.settle(at, status, name, data)
            while at.key != NULL and compare_keys(at.key, at.key_size, key, size) < 0:
                self.next_row(at)
        except BaseException:
            close_cursor(at)
            raise
        return 0

    cdef int next_row(self, IndexCursor *at) except -1:
        cdef MDB_val key, data
        cdef int status
        if at.bucket_at != NULL:
            status = next_bucket_entry(
                &at.bucket_at, at.bucket_end, &at.key, &at.key_size, &at.row
            )
            if status < 0:
                raise StoreCorruptError("a damaged bucket of long keys")
            if status:
                return 0
        status = mdb_cursor_get(at.cursor, &key, &data, MDB_NEXT)
        return self.settle(at, status, key, data)

    cdef int settle(self, IndexCursor *at, int status, MDB_val key, MDB_val data) except -1:
        """Take the row that LMDB found as the cursor's position, or enter its bucket."""
        at.bucket_at = NULL
        at.key = NULL
        if status == MDB_NOTFOUND:
            return 0
        check_status(status, "read the index")
        if key.mv_size > INDEX_KEY_BYTES:
            at.bucket_at = <uint8_t *>data.mv_data
            at.bucket_end = at.bucket_at + data.mv_size
            return self.next_row(at)
        if data.mv_size != INDEX_ROW_BYTES:
            raise StoreCorruptError("an index row of the wrong size")
        at.key = <uint8_t *>key.mv_data
        at.key_size = key.mv_size
        memcpy(&at.row, data.mv_data, INDEX_ROW_BYTES)
        return 0

    def sizes(self) -> tuple[int, int]:
        """Bytes of the file that pages take, and of those the bytes that hold data."""
        cdef MDB_envinfo info
        cdef MDB_stat stat
        cdef MDB_dbi trees[TREES]
        cdef MDB_dbi tree
        cdef size_t pages = 2
        mdb_env_info(self.env, &info)
        trees[:] = [self.index, self.history, self.leases, self.lease_keys, self.meta]
        for tree in trees[:TREES]:
            check_status(mdb_stat(self.snapshot, tree, &stat), "measure the trees")
            pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages
        mdb_env_stat(self.env, &stat)
        return (info.me_last_pgno + 1) * stat.ms_psize, pages * stat.ms_psize
