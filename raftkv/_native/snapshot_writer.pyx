"""Writing a received snapshot: see `snapshot_writer.pxd`; chunks: `snapshot_reader.pxd`."""

import contextlib
import hashlib
import os
import struct
import threading

from libc.string cimport memcpy
from raftkv._native.lmdb cimport (
    MDB_APPEND,
    MDB_BAD_VALSIZE,
    MDB_CREATE,
    MDB_KEYEXIST,
    MDB_NOSUBDIR,
    MDB_NOTFOUND,
    MDB_NOTLS,
    MDB_val,
    mdb_dbi_open,
    mdb_drop,
    mdb_env_close,
    mdb_env_create,
    mdb_env_open,
    mdb_env_set_mapsize,
    mdb_env_set_maxdbs,
    mdb_get,
    mdb_put,
    mdb_txn_abort,
    mdb_txn_begin,
    mdb_txn_commit,
)
from raftkv._native.lmdb_file cimport reserve_lock
from raftkv._native.snapshot_reader cimport (
    CHUNK_HEADER_BYTES,
    CHUNK_MAGIC,
    DIGEST_BYTES,
    ROW_END,
    ROW_HEADER,
    ROW_HEADER_BYTES,
)
from raftkv._native.state_tree cimport TREE_META, check_file_size, check_status

from zlib_ng import zlib_ng
from raftkv._native.state_flusher import FORMAT
from raftkv._native.state_tree import TREE_NAMES
from raftkv.errors import StoreIOError
from raftkv.storage.errors import SnapshotError

cdef bytes PROGRESS = b"incoming"       # name of the tree, and of its one row
cdef object FIELDS = struct.Struct("<QQQqq")      # as in chunk 0
cdef object ROW = struct.Struct("<BII")


cdef enum:
    ROWS_DAMAGED = -1             # of `put_rows`; no LMDB status


cdef int put_rows(
    MDB_txn *txn, const MDB_dbi *trees, const uint8_t *at, size_t left, uint64_t *rows
) noexcept nogil:
    """Append the rows of a payload; an LMDB status, or ROWS_DAMAGED."""
    cdef uint32_t sizes[2]
    cdef MDB_val key, value
    cdef int status
    while left:
        if left < ROW_HEADER_BYTES or at[0] >= TREES:
            return ROWS_DAMAGED
        memcpy(sizes, at + 1, 8)
        left -= ROW_HEADER_BYTES
        if sizes[0] > left or sizes[1] > left - sizes[0]:
            return ROWS_DAMAGED
        key.mv_data = <void *>(at + ROW_HEADER_BYTES)
        key.mv_size = sizes[0]
        value.mv_data = <void *>(at + ROW_HEADER_BYTES + sizes[0])
        value.mv_size = sizes[1]
        status = mdb_put(txn, trees[at[0]], &key, &value, MDB_APPEND)
        if status == MDB_KEYEXIST or status == MDB_BAD_VALSIZE:
            return ROWS_DAMAGED
        if status:
            return status
        at += ROW_HEADER_BYTES + sizes[0] + sizes[1]
        left -= sizes[0] + sizes[1]
        rows[0] += 1
    return 0


cdef int put_value(MDB_txn *txn, MDB_dbi dbi, bytes name, bytes content) noexcept:
    cdef MDB_val key, value
    key.mv_data = <char *>name
    key.mv_size = len(name)
    value.mv_data = <char *>content
    value.mv_size = len(content)
    return mdb_put(txn, dbi, &key, &value, 0)


cdef class SnapshotWriter:
    """See the .pyi."""

    def __cinit__(self, str directory not None, *, cluster_id, member_id, map_size=1 << 40):
        self.directory = directory
        self.file = os.path.join(directory, "incoming.mdb")
        self.cluster_id = cluster_id
        self.member_id = member_id
        self.map_size = map_size
        self.lock = threading.Lock()
        self.digest = bytes(DIGEST_BYTES)
        try:
            if os.path.exists(self.file):
                self.open_env()
                self.load()
        except StoreIOError:
            self.remove()

    def __dealloc__(self):
        if self.env != NULL:
            mdb_env_close(self.env)

    cdef int open_env(self) except -1:
        check_status(mdb_env_create(&self.env), "create an LMDB environment")
        try:
            check_status(mdb_env_set_mapsize(self.env, self.map_size), "set the map size")
            check_status(mdb_env_set_maxdbs(self.env, TREES + 1), "set the number of trees")
            reserve_lock(self.file + "-lock")
            status = mdb_env_open(
                self.env, os.fsencode(self.file), MDB_NOTLS | MDB_NOSUBDIR, 0o600)
            check_status(status, f"open {self.file}")
            check_file_size(self.env, self.file)
            self.open_trees()
        except StoreIOError:
            self.close_env()
            raise
        except OSError as error:
            self.close_env()
            text = f"cannot open {self.file}: {error.strerror}"
            raise StoreIOError(error.errno, text) from error
        return 0

    cdef int open_trees(self) except -1:
        cdef MDB_txn *txn = NULL
        cdef int i
        check_status(mdb_txn_begin(self.env, NULL, 0, &txn), f"write {self.file}")
        try:
            for i, name in enumerate(TREE_NAMES):
                check_status(mdb_dbi_open(txn, name, MDB_CREATE, &self.trees[i]), "open trees")
            check_status(mdb_dbi_open(txn, PROGRESS, MDB_CREATE, &self.progress), "open trees")
        except BaseException:
            mdb_txn_abort(txn)
            raise
        return check_status(mdb_txn_commit(txn), f"write {self.file}")

    cdef int close_env(self) except -1:
        if self.env != NULL:
            mdb_env_close(self.env)
            self.env = NULL
        return 0

    cdef int load(self) except -1:
        """Find out how far an earlier writer came; one that came to the end begins anew."""
        cdef MDB_txn *txn = NULL
        cdef MDB_val key, value
        cdef bytes row = None
        check_status(mdb_txn_begin(self.env, NULL, 0, &txn), f"read {self.file}")
        key.mv_data = <char *>PROGRESS
        key.mv_size = len(PROGRESS)
        if mdb_get(txn, self.progress, &key, &value) == 0:
            row = (<uint8_t *>value.mv_data)[:value.mv_size]
        mdb_txn_abort(txn)
        if row is None or len(row) != FIELDS.size + 12 + DIGEST_BYTES:
            return self.remove()
        cluster, self.index, self.term, self.revision, self.compact_revision = (
            FIELDS.unpack_from(row))
        self.next_chunk, self.rows = struct.unpack_from("<IQ", row, FIELDS.size)
        self.digest = row[FIELDS.size + 12:]
        return self.remove() if cluster != self.cluster_id else 0

    cdef bytes progress_row(self, uint32_t next_chunk, uint64_t rows, bytes digest):
        fields = FIELDS.pack(
            self.cluster_id, self.index, self.term, self.revision, self.compact_revision)
        return fields + struct.pack("<IQ", next_chunk, rows) + digest

    cdef int remove(self) except -1:
        """Back to the beginning, on disk too."""
        self.close_env()
        self.complete = False
        self.next_chunk = 0
        self.rows = self.index = self.term = 0
        self.digest = bytes(DIGEST_BYTES)
        for file in (self.file, self.file + "-lock"):
            try:
                os.unlink(file)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise StoreIOError(error.errno, f"cannot remove {file}") from error
        return 0

    def write(self, bytes chunk not None):
        with self.lock:
            if self.closed:
                raise ValueError("the snapshot writer is closed")
            if len(chunk) < CHUNK_HEADER_BYTES + ROW_HEADER_BYTES:
                raise SnapshotError(f"a chunk of {len(chunk)} bytes")
            magic, sequence, size, crc = struct.unpack_from("<IIII", chunk)
            digest = chunk[16:CHUNK_HEADER_BYTES]
            payload = chunk[CHUNK_HEADER_BYTES:]
            if magic != CHUNK_MAGIC or size != len(payload) or crc != zlib_ng.crc32(
                    payload, zlib_ng.crc32(digest, zlib_ng.crc32(chunk[:12]))):
                raise SnapshotError("a chunk that does not match its checksum")
            if sequence == 0:
                self.remove()
            elif sequence != self.next_chunk or self.env == NULL:
                raise SnapshotError(f"chunk {sequence} where {self.next_chunk} should follow")
            if digest != self.digest:
                raise SnapshotError(f"chunk {sequence} is not of the snapshot that began")
            after = hashlib.sha256(digest + payload).digest()
            if sequence == 0:
                self.begin(payload)
            if payload[0] == ROW_END:
                self.end(payload)
            else:
                self.take_rows(payload if sequence else b"", after)
            self.next_chunk = sequence + 1
            self.digest = after

    cdef int begin(self, bytes payload) except -1:
        if len(payload) != ROW_HEADER_BYTES + FIELDS.size or payload[0] != ROW_HEADER:
            raise SnapshotError("the first chunk does not say what the snapshot holds")
        cluster, index, term, revision, compact_revision = FIELDS.unpack_from(
            payload, ROW_HEADER_BYTES)
        if cluster != self.cluster_id:
            raise SnapshotError(f"a snapshot of cluster {cluster:x}, not {self.cluster_id:x}")
        self.index = index
        self.term = term
        self.revision = revision
        self.compact_revision = compact_revision
        return self.open_env()

    cdef int take_rows(self, bytes payload, bytes digest) except -1:
        """Write the rows of a chunk and how far the transfer then is, in one transaction."""
        cdef MDB_txn *txn = NULL
        cdef const uint8_t *at = payload
        cdef size_t size = len(payload)
        cdef uint64_t rows = self.rows
        cdef int status
        check_status(mdb_txn_begin(self.env, NULL, 0, &txn), f"write {self.file}")
        with nogil:
            status = put_rows(txn, self.trees, at, size, &rows)
        if status == 0:
            progress = self.progress_row(
                self.next_chunk + 1 if size else 1, rows, digest)
            status = put_value(txn, self.progress, PROGRESS, progress)
        if status:
            mdb_txn_abort(txn)
            if status == ROWS_DAMAGED:
                raise SnapshotError("a chunk with rows that cannot be")
            check_status(status, f"write {self.file}")
        with nogil:
            status = mdb_txn_commit(txn)
        check_status(status, f"write {self.file}")
        self.rows = rows
        return 0

    cdef int end(self, bytes payload) except -1:
        """Check that all is here, make the file this member's own, and let go of it."""
        cdef MDB_txn *txn = NULL
        cdef MDB_val key, value
        cdef int status
        if self.env == NULL or len(payload) != ROW_HEADER_BYTES + 8 or struct.unpack_from(
                "<Q", payload, ROW_HEADER_BYTES)[0] != self.rows:
            raise SnapshotError("the snapshot ends with rows missing")
        check_status(mdb_txn_begin(self.env, NULL, 0, &txn), f"write {self.file}")
        key.mv_data = <char *>b"format"
        key.mv_size = 6
        status = mdb_get(txn, self.trees[TREE_META], &key, &value)
        if status == MDB_NOTFOUND or (
                status == 0 and (<uint8_t *>value.mv_data)[:value.mv_size] != FORMAT):
            mdb_txn_abort(txn)
            raise SnapshotError(f"the snapshot is not of format {FORMAT!r}")
        if status == 0:
            identity = struct.pack("<QQ", self.cluster_id, self.member_id)
            status = put_value(txn, self.trees[TREE_META], b"identity", identity)
        if status == 0:
            status = mdb_drop(txn, self.progress, 1)
        if status:
            mdb_txn_abort(txn)
            check_status(status, f"write {self.file}")
        with nogil:
            status = mdb_txn_commit(txn)
        check_status(status, f"write {self.file}")
        self.close_env()
        with contextlib.suppress(OSError):      # nobody reads it; the next writer removes it
            os.unlink(self.file + "-lock")
        self.complete = True
        return 0

    def discard(self):
        with self.lock:
            self.remove()

    def close(self):
        with self.lock:
            self.closed = True
            self.close_env()
