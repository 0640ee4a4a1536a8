"""Reading a snapshot of the state: see `snapshot_reader.pxd` for the format."""

import hashlib
import struct
import threading

from libc.errno cimport ENOMEM
from libc.stdlib cimport realloc
from libc.string cimport memcmp, memcpy
from raftkv._native.lmdb cimport (
    MDB_FIRST,
    MDB_NEXT,
    MDB_NOTFOUND,
    MDB_SET_RANGE,
    mdb_cursor_close,
    mdb_cursor_get,
    mdb_cursor_open,
    mdb_get,
    mdb_txn_abort,
)
from raftkv._native.state_tree cimport TREE_META, TREES, check_status
from raftkv._native.wire cimport buffer_free

from zlib_ng import zlib_ng
from raftkv._native.state_flusher import RECORD_PREFIX
from raftkv.errors import StoreCorruptError

cdef const char *IDENTITY = "identity"      # the one row that is not the receiver's
cdef size_t IDENTITY_BYTES = 8


cdef int make_room(Buffer *buffer, size_t more) noexcept nogil:
    """`buffer_reserve` without the GIL: 0 or ENOMEM."""
    cdef size_t wanted = buffer.size + more
    cdef void *data
    if wanted <= buffer.capacity:
        return 0
    data = realloc(buffer.data, wanted)
    if data == NULL:
        return ENOMEM
    buffer.data = <uint8_t *>data
    buffer.capacity = wanted
    return 0


cdef class SnapshotReader:
    """See the .pyi."""

    def __cinit__(self, StateTree tree not None):
        self.tree = tree
        self.lock = threading.Lock()
        self.digest = bytes(DIGEST_BYTES)
        self.places = [(0, b"", 0, self.digest)]
        self.begin()
        try:
            self.load()
        except BaseException:
            mdb_txn_abort(self.txn)
            self.txn = NULL
            raise

    def __dealloc__(self):
        if self.cursor != NULL:
            mdb_cursor_close(self.cursor)
        if self.txn != NULL:
            mdb_txn_abort(self.txn)
        buffer_free(&self.payload)

    cdef int begin(self) except -1:
        return self.tree.open_reader(&self.txn)

    cdef int load(self) except -1:
        """Read what the snapshot covers, from the snapshot itself."""
        try:
            self.cluster_id = struct.unpack("<QQ", self.get_meta(b"identity"))[0]
            self.index, self.term = struct.unpack("<QQ", self.get_meta(b"applied") or bytes(16))
            revisions = self.get_meta(b"revision") or struct.pack("<qq", 1, -1)
            self.revision, self.compact_revision = struct.unpack("<qq", revisions)
        except (struct.error, TypeError) as error:
            raise StoreCorruptError(f"{self.tree.path} has damaged meta data") from error
        self.records = {}
        self.at_tree = TREE_META
        self.seek_row(RECORD_PREFIX)
        while self.cursor != NULL:
            name = (<uint8_t *>self.key.mv_data)[:self.key.mv_size]
            if not name.startswith(RECORD_PREFIX):
                break
            value = (<uint8_t *>self.value.mv_data)[:self.value.mv_size]
            self.records[name[len(RECORD_PREFIX):]] = value
            check_status(self.move(), "read the member records")
        self.at_tree = 0
        return self.seek_row(b"")

    cdef bytes get_meta(self, bytes name):
        cdef MDB_val key, data
        key.mv_data = <char *>name
        key.mv_size = len(name)
        status = mdb_get(self.txn, self.tree.meta, &key, &data)
        if status == MDB_NOTFOUND:
            return None
        check_status(status, "read meta data")
        return (<uint8_t *>data.mv_data)[:data.mv_size]

    cdef int seek_row(self, bytes key) except -1:
        """Stand on the first row >= `key` of `at_tree`; b"": before its first row."""
        if self.cursor != NULL:
            mdb_cursor_close(self.cursor)
            self.cursor = NULL
        if not key:
            return 0
        check_status(
            mdb_cursor_open(self.txn, tree_of(self.tree, self.at_tree), &self.cursor),
            "read the snapshot")
        self.key.mv_data = <char *>key
        self.key.mv_size = len(key)
        status = mdb_cursor_get(self.cursor, &self.key, &self.value, MDB_SET_RANGE)
        if status:
            mdb_cursor_close(self.cursor)
            self.cursor = NULL
            if status == MDB_NOTFOUND:
                self.at_tree += 1
                return 0
        return check_status(status, "read the snapshot")

    cdef int move(self) noexcept nogil:
        """Go to the next row, into the next tree if need be; an LMDB status."""
        cdef int status
        while self.at_tree < TREES:
            if self.cursor == NULL:
                status = mdb_cursor_open(
                    self.txn, tree_of(self.tree, self.at_tree), &self.cursor)
                if status:
                    return status
                status = mdb_cursor_get(self.cursor, &self.key, &self.value, MDB_FIRST)
            else:
                status = mdb_cursor_get(self.cursor, &self.key, &self.value, MDB_NEXT)
            if status == 0:
                return 0
            mdb_cursor_close(self.cursor)
            self.cursor = NULL
            if status != MDB_NOTFOUND:
                return status
            self.at_tree += 1
        return 0

    cdef int fill(self, size_t bytes_max) noexcept nogil:
        cdef uint32_t sizes[2]
        cdef size_t size
        cdef Buffer *out = &self.payload
        cdef int status
        if self.cursor == NULL:
            status = self.move()
            if status:
                return status
        while self.at_tree < TREES:
            if self.at_tree != TREE_META or self.key.mv_size != IDENTITY_BYTES or memcmp(
                    self.key.mv_data, IDENTITY, IDENTITY_BYTES):
                size = ROW_HEADER_BYTES + self.key.mv_size + self.value.mv_size
                if out.size and out.size + size > bytes_max:
                    return 0
                if make_room(out, size):
                    return ENOMEM
                sizes[0] = <uint32_t>self.key.mv_size
                sizes[1] = <uint32_t>self.value.mv_size
                out.data[out.size] = <uint8_t>self.at_tree
                memcpy(out.data + out.size + 1, sizes, 8)
                memcpy(out.data + out.size + ROW_HEADER_BYTES, self.key.mv_data, self.key.mv_size)
                if self.value.mv_size:
                    memcpy(out.data + out.size + ROW_HEADER_BYTES + self.key.mv_size,
                           self.value.mv_data, self.value.mv_size)
                out.size += size
                self.rows += 1
            status = self.move()
            if status:
                return status
        return 0

    cdef bytes seal(self):
        """Make the chunk of `payload`, and count it in."""
        cdef bytes payload = self.payload.data[:self.payload.size]
        head = struct.pack("<III", CHUNK_MAGIC, self.next_chunk, len(payload))
        crc = zlib_ng.crc32(payload, zlib_ng.crc32(self.digest, zlib_ng.crc32(head)))
        chunk = b"".join((head, struct.pack("<I", crc), self.digest, payload))
        self.digest = hashlib.sha256(self.digest + payload).digest()
        self.next_chunk += 1
        if self.next_chunk == len(self.places):
            key = (<uint8_t *>self.key.mv_data)[:self.key.mv_size] if self.cursor != NULL else b""
            self.places.append((self.at_tree, key, self.rows, self.digest))
        return chunk

    def read(self, size_t bytes_max):
        cdef bytes row
        cdef int status = 0
        with self.lock:
            if self.txn == NULL:
                raise ValueError("the snapshot is closed")
            if self.finished:
                return b""
            self.payload.size = 0
            bytes_max = min(bytes_max, <size_t>CHUNK_BYTES_MAX)
            bytes_max -= min(bytes_max, <size_t>CHUNK_HEADER_BYTES)
            if make_room(&self.payload, bytes_max):
                raise MemoryError
            if self.next_chunk == 0:
                fields = struct.pack(
                    "<QQQqq", self.cluster_id, self.index, self.term, self.revision,
                    self.compact_revision)
                row = struct.pack("<BII", ROW_HEADER, 0, len(fields)) + fields
            else:
                row = b""
                with nogil:
                    status = self.fill(bytes_max)
                check_status(status, "read the snapshot")
                if self.payload.size == 0:
                    row = struct.pack("<BIIQ", ROW_END, 0, 8, self.rows)
                    self.finished = True
                    self.at_tree = TREES + 1
            if row:
                if make_room(&self.payload, len(row)):
                    raise MemoryError
                memcpy(self.payload.data, <const char *>row, len(row))
                self.payload.size = len(row)
            return self.seal()

    def seek(self, uint32_t chunk, bytes digest not None):
        with self.lock:
            if self.txn == NULL:
                raise ValueError("the snapshot is closed")
            if chunk >= len(self.places) or self.places[chunk][3] != digest:
                return False
            self.at_tree, key, self.rows, self.digest = self.places[chunk]
            self.next_chunk = chunk
            self.finished = self.at_tree > TREES
            self.seek_row(key)
            return True

    def close(self):
        with self.lock:
            if self.cursor != NULL:
                mdb_cursor_close(self.cursor)
                self.cursor = NULL
            if self.txn != NULL:
                mdb_txn_abort(self.txn)
                self.txn = NULL


cdef inline unsigned int tree_of(StateTree tree, int number) noexcept nogil:
    if number == 0:
        return tree.index
    if number == 1:
        return tree.history
    if number == 2:
        return tree.leases
    if number == 3:
        return tree.lease_keys
    return tree.meta
