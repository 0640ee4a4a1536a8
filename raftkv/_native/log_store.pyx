# cython: language_level=3
"""The Raft log in one LMDB environment.

Two trees: `entries` (index u64 BE -> term u64 LE, kind u8, crc32 u32 LE, data) and `meta` (hard
state, base of the log, identity). Every write is one transaction that LMDB syncs before it returns,
with its default flags: after a power cut the log is as one of the transactions left it. What is
written is checked when it is read.

One thread writes at a time and one thread reads at a time; they may be different ones. Writes
release the GIL.
"""

import errno
import os
import struct
import zlib

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from raftkv._native.lmdb cimport (
    MDB_APPEND,
    MDB_CORRUPTED,
    MDB_CREATE,
    MDB_FIRST,
    MDB_INVALID,
    MDB_LAST,
    MDB_MAP_FULL,
    MDB_NEXT,
    MDB_NORDAHEAD,
    MDB_NOTFOUND,
    MDB_NOTLS,
    MDB_PAGE_NOTFOUND,
    MDB_RDONLY,
    MDB_RESERVE,
    MDB_SET_RANGE,
    MDB_TXN_FULL,
    MDB_VERSION_MISMATCH,
    MDB_cursor,
    MDB_envinfo,
    MDB_stat,
    mdb_cursor_close,
    mdb_cursor_del,
    mdb_cursor_get,
    mdb_cursor_open,
    mdb_dbi_open,
    mdb_drop,
    mdb_env_close,
    mdb_env_create,
    mdb_env_info,
    mdb_env_open,
    mdb_env_set_mapsize,
    mdb_env_set_maxdbs,
    mdb_env_stat,
    mdb_get,
    mdb_put,
    mdb_strerror,
    mdb_txn_abort,
    mdb_txn_begin,
    mdb_txn_commit,
    mdb_txn_renew,
    mdb_txn_reset,
)
from raftkv._native.lmdb_file cimport create_lmdb, missing_bytes

from raftkv.raft.errors import LogCompacted, LogUnavailable
from raftkv.raft.messages import EntryKind, Entry, HardState
from raftkv.storage.errors import CorruptLogError, LogFullError, LogIOError, StorageError

MAP_SIZE_DEFAULT = 64 << 30

cdef object KINDS = {int(kind): kind for kind in EntryKind}
cdef object crc32 = zlib.crc32
cdef bytes META_HARD_STATE = b"raft/hard_state"
cdef bytes META_BASE = b"raft/base"
cdef enum:
    ROOM_BYTES = 1 << 16               # a disk with less room than this counts as full
cdef tuple TREES = (b"entries", b"meta")
cdef bytes METADATA_PREFIX = b"metadata/"


cdef uint32_t record_checksum(uint64_t index, uint64_t term, uint8_t kind, bytes data) except? 0:
    """`raftkv.raft.messages.entry_checksum`: with its place, so a record at a wrong index fails."""
    cdef uint8_t head[17]
    put_u64_be(head, index)
    put_u64_le(head + 8, term)
    head[16] = kind
    return crc32(data, crc32(PyBytes_FromStringAndSize(<char *>head, 17)))


cdef int fail(str operation, int code) except -1:
    """Raise the storage error that stands for an LMDB or operating system error code."""
    detail = mdb_strerror(code).decode()
    if code in (MDB_MAP_FULL, MDB_TXN_FULL, errno.ENOSPC, errno.EDQUOT):
        raise LogFullError(operation, detail)
    if code in (MDB_CORRUPTED, MDB_PAGE_NOTFOUND, MDB_INVALID, MDB_VERSION_MISMATCH):
        raise CorruptLogError(0, f"{operation}: {detail}")
    raise LogIOError(operation, code, detail)


cdef int delete_range(MDB_txn *txn, MDB_dbi dbi, uint64_t lo, uint64_t hi) noexcept nogil:
    """Delete keys of [lo, hi); returns 0 or an LMDB code."""
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key
    cdef MDB_val value
    cdef uint8_t raw[KEY_BYTES]
    cdef int code = mdb_cursor_open(txn, dbi, &cursor)
    if code != 0:
        return code
    put_u64_be(raw, lo)
    key.mv_size = KEY_BYTES
    key.mv_data = raw
    code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
    while code == 0 and get_u64_be(<uint8_t *>key.mv_data) < hi:
        code = mdb_cursor_del(cursor, 0)
        if code == 0:
            # After a deletion the cursor stands before its next record: MDB_NEXT yields that one.
            code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
    mdb_cursor_close(cursor)
    return 0 if code == MDB_NOTFOUND else code


cdef int put_record(MDB_txn *txn, MDB_dbi dbi, uint64_t index, Record *record) noexcept nogil:
    """Write one record behind all others; returns 0 or an LMDB code."""
    cdef MDB_val key
    cdef MDB_val value
    cdef uint8_t raw[KEY_BYTES]
    cdef uint8_t *out
    cdef int code
    put_u64_be(raw, index)
    key.mv_size = KEY_BYTES
    key.mv_data = raw
    value.mv_size = RECORD_HEADER_BYTES + record.size
    value.mv_data = NULL
    code = mdb_put(txn, dbi, &key, &value, MDB_APPEND | MDB_RESERVE)
    if code != 0:
        return code
    out = <uint8_t *>value.mv_data
    put_u64_le(out, record.term)
    out[8] = record.kind
    out[9] = <uint8_t>record.checksum
    out[10] = <uint8_t>(record.checksum >> 8)
    out[11] = <uint8_t>(record.checksum >> 16)
    out[12] = <uint8_t>(record.checksum >> 24)
    memcpy(out + RECORD_HEADER_BYTES, record.data, record.size)
    return 0


cdef int put_meta(MDB_txn *txn, MDB_dbi dbi, const char *name, size_t name_size,
                  const void *data, size_t size) noexcept nogil:
    cdef MDB_val key
    cdef MDB_val value
    key.mv_size = name_size
    key.mv_data = <void *>name
    value.mv_size = size
    value.mv_data = <void *>data
    return mdb_put(txn, dbi, &key, &value, 0)


cdef int write_batch(MDB_env *env, MDB_dbi entries_dbi, MDB_dbi meta_dbi, Batch *batch,
                     const char *hard_state_name, size_t hard_state_name_size) noexcept nogil:
    """Replace the tail and write the hard state in one synced transaction; 0 or an LMDB code."""
    cdef MDB_txn *txn = NULL
    cdef size_t i
    cdef int code = mdb_txn_begin(env, NULL, 0, &txn)
    if code != 0:
        return code
    if batch.count and batch.first_index <= batch.old_last_index:
        code = delete_range(txn, entries_dbi, batch.first_index, batch.old_last_index + 1)
    for i in range(batch.count):
        if code != 0:
            break
        code = put_record(txn, entries_dbi, batch.first_index + i, &batch.records[i])
    if code == 0 and batch.has_hard_state:
        code = put_meta(txn, meta_dbi, hard_state_name, hard_state_name_size,
                        batch.hard_state, HARD_STATE_BYTES)
    if code != 0:
        mdb_txn_abort(txn)
        return code
    return mdb_txn_commit(txn)


cdef bytes seal(bytes fields):
    """Add the crc32 that `unseal` checks."""
    return fields + struct.pack("<I", crc32(fields))


cdef tuple unseal(bytes value, size_t size, str what, str fields):
    if <size_t>PyBytes_GET_SIZE(value) != size:
        raise CorruptLogError(0, f"the {what} has {len(value)} bytes instead of {size}")
    if struct.unpack("<I", value[size - 4:])[0] != crc32(value[:size - 4]):
        raise CorruptLogError(0, f"the {what} does not match its checksum")
    return struct.unpack(fields, value[:size - 4])


cdef bytes encode_hard_state(object hard_state):
    return seal(struct.pack("<QQQ", hard_state.term, hard_state.vote, hard_state.commit))


cdef class LogStore:
    """See `log_store.pyi` for the contract."""

    def __cinit__(self):
        self.env = NULL
        self.reader = NULL

    def __init__(self, str path, size_t map_size=MAP_SIZE_DEFAULT):
        if self.env != NULL:
            raise ValueError("the log is open already")
        self.path = path
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        except OSError as error:
            fail(f"create {path}", error.errno)
        code = create_lmdb(path, TREES, map_size)
        if code:
            fail(f"create the log in {path}", code)
        try:
            self.open_env(os.fsencode(path), map_size)
            self.load_bounds()
        except BaseException:
            self.close()
            raise

    def __dealloc__(self):
        if self.reader != NULL:
            mdb_txn_abort(self.reader)
        if self.env != NULL:
            mdb_env_close(self.env)

    cdef int check_open(self) except -1:
        if self.env == NULL:
            raise ValueError("the log is closed")
        return 0

    cdef int check_writable(self) except -1:
        """After a failed write the disk is not known any more: a later one must not seem well."""
        self.check_open()
        if self.failure is not None:
            raise LogIOError("write to the log", 0, f"it has failed: {self.failure}")
        return 0

    cdef int check_written(self, str operation, int code) except -1:
        if code == 0:
            return 0
        try:
            if code == errno.EIO:      # what LMDB makes of a write that a full disk cut short
                room = os.statvfs(self.path)
                code = errno.ENOSPC if room.f_bavail * room.f_frsize < ROOM_BYTES else code
            return fail(operation, code)
        except StorageError as failure:
            self.failure = failure
            raise

    cdef int open_env(self, bytes path, size_t map_size) except -1:
        cdef MDB_env *env = NULL
        cdef MDB_txn *txn = NULL
        cdef int code = mdb_env_create(&env)
        if code != 0:
            fail("open the log", code)
        self.env = env
        code = mdb_env_set_maxdbs(env, 2)
        if code == 0:
            code = mdb_env_set_mapsize(env, map_size)
        if code == 0:
            code = mdb_env_open(env, PyBytes_AS_STRING(path), MDB_NOTLS | MDB_NORDAHEAD, 0o600)
        if code != 0:
            fail("open the log", code)
        missing = missing_bytes(env, os.path.join(self.path, "data.mdb"))
        if missing:
            raise CorruptLogError(0, f"{self.path}/data.mdb was cut off by {missing} bytes")
        code = mdb_txn_begin(env, NULL, 0, &txn)
        if code != 0:
            fail("open the log", code)
        code = mdb_dbi_open(txn, "entries", MDB_CREATE, &self.entries_dbi)
        if code == 0:
            code = mdb_dbi_open(txn, "meta", MDB_CREATE, &self.meta_dbi)
        if code != 0:
            mdb_txn_abort(txn)
            fail("open the log", code)
        code = mdb_txn_commit(txn)
        if code == 0:
            code = mdb_txn_begin(env, NULL, MDB_RDONLY, &self.reader)
        if code != 0:
            fail("open the log", code)
        mdb_txn_reset(self.reader)
        return 0

    cdef int load_bounds(self) except -1:
        """Read base and last index, and check that the entries between them are all there."""
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key
        cdef MDB_val value
        cdef uint64_t first = 0
        cdef bytes base = self.read_meta(META_BASE)
        cdef int code
        if base is not None:
            self.base_index, self.base_term = unseal(base, BASE_BYTES, "base of the log", "<QQ")
        self.last = self.base_index
        self.begin_read()
        code = mdb_cursor_open(self.reader, self.entries_dbi, &cursor)
        if code == 0:
            code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST)
            if code == 0 and key.mv_size == KEY_BYTES:
                first = get_u64_be(<uint8_t *>key.mv_data)
                code = mdb_cursor_get(cursor, &key, &value, MDB_LAST)
                if code == 0:
                    self.last = get_u64_be(<uint8_t *>key.mv_data)
            mdb_cursor_close(cursor)
        mdb_txn_reset(self.reader)
        if code not in (0, MDB_NOTFOUND):
            fail("read the log's bounds", code)
        if first and first != self.base_index + 1:
            raise CorruptLogError(first, f"the log should begin at {self.base_index + 1}")
        return 0

    cdef int begin_read(self) except -1:
        """Begin reading the latest state; the caller ends with mdb_txn_reset."""
        self.check_open()
        cdef int code = mdb_txn_renew(self.reader)
        if code != 0:
            fail("read the log", code)
        return 0

    @property
    def first_index(self):
        return self.base_index + 1

    @property
    def last_index(self):
        return self.last

    @property
    def size_bytes(self):
        cdef MDB_envinfo info
        cdef MDB_stat stat
        self.check_open()
        mdb_env_info(self.env, &info)
        mdb_env_stat(self.env, &stat)
        return (info.me_last_pgno + 1) * stat.ms_psize

    cdef object decode(self, uint64_t index, MDB_val *value):
        """Make the Entry of a record, after checking it."""
        cdef const uint8_t *raw = <const uint8_t *>value.mv_data
        if value.mv_size < RECORD_HEADER_BYTES:
            raise CorruptLogError(index, "the record is cut short")
        cdef uint64_t term = get_u64_le(raw)
        cdef uint32_t stored = raw[9] | raw[10] << 8 | raw[11] << 16 | <uint32_t>raw[12] << 24
        cdef bytes data = PyBytes_FromStringAndSize(
            <const char *>raw + RECORD_HEADER_BYTES, value.mv_size - RECORD_HEADER_BYTES)
        if record_checksum(index, term, raw[8], data) != stored:
            raise CorruptLogError(index, "the record does not match its checksum")
        kind = KINDS.get(raw[8])
        if kind is None:
            raise CorruptLogError(index, f"unknown kind {raw[8]}")
        return Entry(term, index, kind, data, stored)

    cdef uint64_t read_term(self, uint64_t index) except? 0:
        cdef MDB_val key
        cdef MDB_val value
        cdef uint8_t raw[KEY_BYTES]
        cdef uint64_t term = 0
        cdef int code
        put_u64_be(raw, index)
        key.mv_size = KEY_BYTES
        key.mv_data = raw
        self.begin_read()
        code = mdb_get(self.reader, self.entries_dbi, &key, &value)
        if code == 0 and value.mv_size >= RECORD_HEADER_BYTES:
            term = get_u64_le(<uint8_t *>value.mv_data)
        mdb_txn_reset(self.reader)
        if code == MDB_NOTFOUND or (code == 0 and term == 0):
            raise CorruptLogError(index, "the record is missing or empty")
        if code != 0:
            fail("read a term", code)
        return term

    def term(self, uint64_t index):
        if index < self.base_index:
            raise LogCompacted(index, self.base_index + 1)
        if index > self.last:
            raise LogUnavailable(index, self.last)
        return self.base_term if index == self.base_index else self.read_term(index)

    def entries(self, uint64_t lo, uint64_t hi, Py_ssize_t bytes_max):
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key
        cdef MDB_val value
        cdef uint8_t raw[KEY_BYTES]
        cdef uint64_t index = lo
        cdef Py_ssize_t size = 0
        cdef int code
        cdef list found = []
        if lo <= self.base_index:
            raise LogCompacted(lo, self.base_index + 1)
        if hi > self.last + 1:
            raise LogUnavailable(hi - 1, self.last)
        if lo >= hi:
            return found
        put_u64_be(raw, lo)
        key.mv_size = KEY_BYTES
        key.mv_data = raw
        self.begin_read()
        try:
            code = mdb_cursor_open(self.reader, self.entries_dbi, &cursor)
            if code == 0:
                code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
            while code == 0 and index < hi:
                if key.mv_size != KEY_BYTES or get_u64_be(<uint8_t *>key.mv_data) != index:
                    raise CorruptLogError(index, "the record is missing")
                size += value.mv_size
                if size > bytes_max and found:
                    return found
                found.append(self.decode(index, &value))
                index += 1
                if index < hi:
                    code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
            if code == MDB_NOTFOUND:
                raise CorruptLogError(index, "the record is missing")
            if code != 0:
                fail("read entries", code)
            return found
        finally:
            if cursor != NULL:
                mdb_cursor_close(cursor)
            mdb_txn_reset(self.reader)

    cdef bytes read_meta(self, bytes name):
        cdef MDB_val key
        cdef MDB_val value
        cdef bytes found = None
        cdef int code
        key.mv_size = PyBytes_GET_SIZE(name)
        key.mv_data = PyBytes_AS_STRING(name)
        self.begin_read()
        code = mdb_get(self.reader, self.meta_dbi, &key, &value)
        if code == 0:
            found = PyBytes_FromStringAndSize(<char *>value.mv_data, value.mv_size)
        mdb_txn_reset(self.reader)
        if code not in (0, MDB_NOTFOUND):
            fail("read metadata", code)
        return found

    def hard_state(self):
        cdef bytes value = self.read_meta(META_HARD_STATE)
        if value is None:
            return HardState()
        return HardState(*unseal(value, HARD_STATE_BYTES, "hard state", "<QQQ"))

    def append(self, entries, hard_state=None):
        cdef Batch batch
        cdef size_t i
        cdef int code
        cdef bytes data
        cdef bytes sealed
        cdef const char *name = PyBytes_AS_STRING(META_HARD_STATE)
        cdef size_t name_size = PyBytes_GET_SIZE(META_HARD_STATE)
        self.check_writable()
        batch.count = len(entries)
        batch.first_index = entries[0].index if batch.count else 0
        batch.old_last_index = self.last
        batch.has_hard_state = hard_state is not None
        if batch.count and not self.base_index < batch.first_index <= self.last + 1:
            raise ValueError(f"entry {batch.first_index} does not follow {self.last}")
        if hard_state is not None:
            sealed = encode_hard_state(hard_state)
            memcpy(batch.hard_state, PyBytes_AS_STRING(sealed), HARD_STATE_BYTES)
        batch.records = <Record *>malloc((batch.count or 1) * sizeof(Record))
        if batch.records == NULL:
            raise MemoryError
        try:
            for i, entry in enumerate(entries):
                if entry.index != batch.first_index + i:
                    raise ValueError(f"entry {entry.index} is out of order")
                data = entry.data
                batch.records[i].term = entry.term
                batch.records[i].kind = entry.kind
                batch.records[i].data = <const uint8_t *>PyBytes_AS_STRING(data)
                batch.records[i].size = PyBytes_GET_SIZE(data)
                batch.records[i].checksum = entry.checksum
            # `entries` keeps every `data` alive while the GIL is released.
            with nogil:
                code = write_batch(self.env, self.entries_dbi, self.meta_dbi, &batch,
                                   name, name_size)
        finally:
            free(batch.records)
        self.check_written("append to the log", code)
        if batch.count:
            self.last = batch.first_index + batch.count - 1

    cdef uint64_t term_for_writer(self, uint64_t index) except? 0:
        """Like `read_term`, in the writing thread: `reader` belongs to the reading one."""
        cdef MDB_txn *txn = NULL
        cdef MDB_val key
        cdef MDB_val value
        cdef uint8_t raw[KEY_BYTES]
        cdef uint64_t term = 0
        cdef int code = mdb_txn_begin(self.env, NULL, MDB_RDONLY, &txn)
        if code == 0:
            put_u64_be(raw, index)
            key.mv_size = KEY_BYTES
            key.mv_data = raw
            code = mdb_get(txn, self.entries_dbi, &key, &value)
            if code == 0 and value.mv_size >= RECORD_HEADER_BYTES:
                term = get_u64_le(<uint8_t *>value.mv_data)
            mdb_txn_abort(txn)
        if code == MDB_NOTFOUND or (code == 0 and term == 0):
            raise CorruptLogError(index, "the record is missing or empty")
        if code != 0:
            fail("read a term", code)
        return term

    def truncate_prefix(self, uint64_t index):
        cdef MDB_txn *txn = NULL
        cdef uint64_t base = self.base_index
        cdef uint64_t base_term = self.base_term
        cdef uint64_t term
        cdef bytes sealed
        cdef const char *name = PyBytes_AS_STRING(META_BASE)
        cdef size_t name_size = PyBytes_GET_SIZE(META_BASE)
        cdef const char *value
        cdef int code
        self.check_writable()
        if index <= base:
            return
        if index > self.last:
            raise LogUnavailable(index, self.last)
        term = self.term_for_writer(index)
        sealed = seal(struct.pack("<QQ", index, term))
        value = PyBytes_AS_STRING(sealed)
        # Moved before the commit: a reader in between must not miss what is being dropped.
        self.base_index = index
        self.base_term = term
        with nogil:
            code = mdb_txn_begin(self.env, NULL, 0, &txn)
            if code == 0:
                code = delete_range(txn, self.entries_dbi, base + 1, index + 1)
                if code == 0:
                    code = put_meta(txn, self.meta_dbi, name, name_size, value, BASE_BYTES)
                if code == 0:
                    code = mdb_txn_commit(txn)
                else:
                    mdb_txn_abort(txn)
        if code != 0:
            self.base_index = base
            self.base_term = base_term
        self.check_written("drop old entries", code)

    def reset(self, uint64_t index, uint64_t term, hard_state=None):
        cdef dict items = {META_BASE: seal(struct.pack("<QQ", index, term))}
        if hard_state is not None:
            items[META_HARD_STATE] = encode_hard_state(hard_state)
        self.write_meta(items, True)
        self.base_index = self.last = index
        self.base_term = term

    def get_metadata(self, str name):
        return self.read_meta(METADATA_PREFIX + name.encode())

    def put_metadata(self, items):
        self.write_meta({METADATA_PREFIX + k.encode(): v for k, v in items.items()}, False)

    cdef int write_meta(self, dict items, bint drop_entries) except -1:
        """Write meta values, and empty the log if asked, in one synced transaction."""
        cdef MDB_txn *txn = NULL
        cdef bytes name
        cdef bytes value
        cdef int code
        self.check_writable()
        code = mdb_txn_begin(self.env, NULL, 0, &txn)
        self.check_written("write metadata", code)
        if drop_entries:
            code = mdb_drop(txn, self.entries_dbi, 0)
        for name, value in items.items():
            if code == 0:
                code = put_meta(txn, self.meta_dbi, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
                                PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        if code != 0:
            mdb_txn_abort(txn)
            self.check_written("write metadata", code)
        with nogil:
            code = mdb_txn_commit(txn)
        return self.check_written("write metadata", code)

    def close(self):
        if self.reader != NULL:
            mdb_txn_abort(self.reader)
            self.reader = NULL
        if self.env != NULL:
            mdb_env_close(self.env)
            self.env = NULL
