"""Producing a bbolt file from a snapshot: see `bbolt_emitter.pxd`."""

import struct

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy, memset
from raftkv._native.bbolt_pages cimport ELEMENT_BUCKET, PAGE_BYTES, make_room
from raftkv._native.lmdb cimport (
    MDB_CORRUPTED,
    MDB_FIRST,
    MDB_NEXT,
    MDB_NOTFOUND,
    mdb_cursor_close,
    mdb_cursor_get,
    mdb_cursor_open,
)
from raftkv._native.state_tree cimport (
    HISTORY_HEADER_BYTES,
    HISTORY_KEY_BYTES,
    HistoryHeader,
    check_status,
    read_be64,
)
from raftkv._native.wire cimport Buffer, put_byte, put_raw, put_varint, varint_size

cdef size_t UNLIMITED = <size_t>-1


cdef inline size_t number_size(int64_t value) noexcept nogil:
    return 1 + varint_size(<uint64_t>value) if value else 0


cdef inline void put_number(Buffer *out, uint8_t tag, int64_t value) noexcept nogil:
    if value:
        put_byte(out, tag)
        put_varint(out, <uint64_t>value)


cdef inline void put_bytes(Buffer *out, uint8_t tag, const uint8_t *at, size_t size) noexcept nogil:
    put_byte(out, tag)
    put_varint(out, size)
    put_raw(out, at, size)


cdef class BboltEmitter:
    """See the .pyi."""

    def __cinit__(self, SnapshotReader snapshot not None, object buckets):
        self.snapshot = snapshot
        self.pages = PageBuilder()
        self.buckets = sorted(
            [(b"key", None), (b"lease", None)]
            + [(name, sorted(rows)) for name, rows in buckets.items()])
        self.roots = []
        self.pages.restart(True)

    def __dealloc__(self):
        if self.cursor != NULL:
            mdb_cursor_close(self.cursor)

    def measure(self, size_t rows_max):
        with self.snapshot.lock:
            if not self.total_bytes:
                self.go(UNLIMITED, max(rows_max, <size_t>1))
                if self.passed:
                    self.pages_total = self.pages.next_page
                    self.total_bytes = self.pages_total * PAGE_BYTES
                    self.passed = False
                    self.roots = []
                    self.pages.restart(False)
                    if self.pages.write_head(self.root, self.pages_total):
                        raise MemoryError
            return self.total_bytes != 0

    def read(self, size_t bytes_max):
        cdef bytes found
        with self.snapshot.lock:
            if not self.total_bytes:
                raise ValueError("the file is not measured yet")
            if not self.passed:
                self.go(max(bytes_max, <size_t>PAGE_BYTES), UNLIMITED)
                if self.passed:
                    assert self.pages.next_page == self.pages_total, "two passes differ"
            found = self.pages.out.data[:self.pages.out.size] if self.pages.out.size else b""
            self.pages.out.size = 0
            return found

    cdef int go(self, size_t bytes_max, size_t rows_max) except -1:
        """Go on with the pass until so much is done."""
        cdef uint64_t root = 0
        cdef bint leases
        cdef int status
        if self.snapshot.txn == NULL:
            raise ValueError("the snapshot is closed")
        while len(self.roots) < len(self.buckets):
            name, rows = self.buckets[len(self.roots)]
            if rows is not None:
                self.add_rows(rows, 0)
            else:
                leases = name == b"lease"
                with nogil:
                    status = self.add_tree(leases, bytes_max, rows_max)
                check_status(status, "read the snapshot")
                if self.cursor != NULL:
                    return 0
            if self.pages.finish_bucket(&root):
                raise MemoryError
            self.roots.append(root)
        return self.finish_file()

    cdef int finish_file(self) except -1:
        """Add the bucket of the buckets, whose root ends the file."""
        rows = [
            (name, struct.pack("<QQ", root, 0))
            for (name, _), root in zip(self.buckets, self.roots, strict=True)
        ]
        self.add_rows(rows, ELEMENT_BUCKET)
        if self.pages.finish_bucket(&self.root):
            raise MemoryError
        self.passed = True
        return 0

    cdef int add_rows(self, object rows, unsigned int flags) except -1:
        cdef bytes key, value
        for key, value in rows:
            if self.pages.add(flags, <const uint8_t *>key, len(key), len(value)):
                raise MemoryError
            if not self.pages.counting:
                put_raw(&self.pages.levels[0].data, <const uint8_t *>value, len(value))
        return 0

    cdef int add_tree(self, bint leases, size_t bytes_max, size_t rows_max) noexcept nogil:
        cdef size_t rows = 0
        cdef int status = 0
        if self.cursor == NULL:
            status = mdb_cursor_open(
                self.snapshot.txn,
                self.snapshot.tree.leases if leases else self.snapshot.tree.history,
                &self.cursor)
            if status == 0:
                status = mdb_cursor_get(self.cursor, &self.key, &self.value, MDB_FIRST)
        while status == 0 and self.pages.out.size < bytes_max and rows < rows_max:
            status = self.add_lease() if leases else self.add_version()
            if status == 0:
                status = mdb_cursor_get(self.cursor, &self.key, &self.value, MDB_NEXT)
            rows += 1
        if status and self.cursor != NULL:
            mdb_cursor_close(self.cursor)
            self.cursor = NULL
        return 0 if status == MDB_NOTFOUND else status

    cdef int add_version(self) noexcept nogil:
        cdef HistoryHeader header
        cdef const uint8_t *name = <const uint8_t *>self.key.mv_data
        cdef const uint8_t *user_key
        cdef uint8_t revision[TOMBSTONE_BYTES]
        cdef Buffer *out = &self.pages.levels[0].data
        cdef int64_t main
        cdef bint tombstone
        cdef size_t size, value_size
        if self.key.mv_size != HISTORY_KEY_BYTES or self.value.mv_size < HISTORY_HEADER_BYTES:
            return MDB_CORRUPTED
        memcpy(&header, self.value.mv_data, HISTORY_HEADER_BYTES)
        if header.key_size > self.value.mv_size - HISTORY_HEADER_BYTES:
            return MDB_CORRUPTED
        user_key = <const uint8_t *>self.value.mv_data + HISTORY_HEADER_BYTES
        value_size = self.value.mv_size - HISTORY_HEADER_BYTES - header.key_size
        main = <int64_t>read_be64(name)
        tombstone = header.version == 0
        memcpy(revision, name, 8)
        revision[8] = 0x5F                # "_"
        memset(revision + 9, 0, 4)
        memcpy(revision + 13, name + 8, 4)
        revision[17] = 0x74               # "t"
        size = 1 + varint_size(header.key_size) + header.key_size
        if not tombstone:
            size += number_size(header.create_revision) + number_size(main)
            size += number_size(header.version) + number_size(header.lease)
            if value_size:
                size += 1 + varint_size(value_size) + value_size
        if self.pages.add(0, revision, TOMBSTONE_BYTES if tombstone else REVISION_BYTES, size):
            return ENOMEM
        if self.pages.counting:
            return 0
        put_bytes(out, 0x0A, user_key, header.key_size)
        if not tombstone:
            put_number(out, 0x10, header.create_revision)
            put_number(out, 0x18, main)
            put_number(out, 0x20, header.version)
            if value_size:
                put_bytes(out, 0x2A, user_key + header.key_size, value_size)
            put_number(out, 0x30, header.lease)
        return 0

    cdef int add_lease(self) noexcept nogil:
        cdef int64_t lease, ttl
        if self.key.mv_size != 8 or self.value.mv_size < 8:
            return MDB_CORRUPTED
        lease = <int64_t>read_be64(<const uint8_t *>self.key.mv_data)
        memcpy(&ttl, self.value.mv_data, 8)
        if self.pages.add(
                0, <const uint8_t *>self.key.mv_data, 8, number_size(lease) + number_size(ttl)):
            return ENOMEM
        if not self.pages.counting:
            put_number(&self.pages.levels[0].data, 0x08, lease)
            put_number(&self.pages.levels[0].data, 0x10, ttl)
        return 0
