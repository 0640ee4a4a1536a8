"""Building a state: see `state_builder.pxd`."""

import struct

from libc.stdint cimport INT64_MAX
from raftkv._native.mem_table cimport MemTable, Record
from raftkv._native.mvcc_view cimport FOUND_NOTHING, KeyVersion
from raftkv._native.state_tree cimport StateTree, check_status, read_be64
from raftkv._native.state_writer cimport SIDE_LEASES, SIDE_META, add_side_row, write_table
from raftkv._native.wire cimport Field, buffer_free, next_field, span_size

from raftkv._native.state_flusher import FORMAT, RECORD_PREFIX


cdef int parse_key_value(bytes data, StoredVersion *out) except -1:
    """Read a KeyValue; ValueError unless it is one."""
    cdef Span rest
    cdef Field field
    cdef int status
    rest.at = <const uint8_t *>data
    rest.end = rest.at + len(data)
    out.key.at = out.key.end = out.value.at = out.value.end = NULL
    out.create_revision = out.mod_revision = out.version = out.lease = 0
    while True:
        status = next_field(&rest, &field)
        if status < 0:
            raise ValueError("its KeyValue is malformed")
        if status == 0:
            return 0
        if field.tag == 0x0A:
            out.key = field.span
        elif field.tag == 0x10:
            out.create_revision = <int64_t>field.varint
        elif field.tag == 0x18:
            out.mod_revision = <int64_t>field.varint
        elif field.tag == 0x20:
            out.version = <int64_t>field.varint
        elif field.tag == 0x2A:
            out.value = field.span
        elif field.tag == 0x30:
            out.lease = <int64_t>field.varint


cdef class StateBuilder:
    """See the .pyi."""

    def __cinit__(self, str path not None, *, map_size=1 << 40):
        self.closed = True
        self.tree = StateTree(path, map_size)
        self.closed = False
        self.view = MvccView(self.tree)
        if self.tree.get_meta(b"format") is not None:
            self.close()
            raise ValueError(f"{path} has a state already")

    def __dealloc__(self):
        buffer_free(&self.side_rows)

    def add(self, bytes revision not None, bytes key_value not None):
        cdef const uint8_t *name = <const uint8_t *>revision
        cdef bint tombstone = len(revision) == TOMBSTONE_BYTES
        cdef StoredVersion stored
        cdef uint64_t main, sub
        if self.closed:
            raise ValueError("the builder is closed")
        if (len(revision) != REVISION_BYTES and not tombstone) or name[8] != 0x5F or (
                tombstone and name[REVISION_BYTES] != 0x74):
            raise ValueError(f"{revision!r} is no revision")
        main = read_be64(name)
        sub = read_be64(name + 9)
        if main == 0 or main > INT64_MAX or sub > <uint32_t>-1:
            raise ValueError(f"revision {main}.{sub} cannot be")
        if <int64_t>main < self.revision or (
                <int64_t>main == self.revision and sub <= self.sub and self.versions):
            raise ValueError(f"revision {main}.{sub} follows {self.revision}.{self.sub}")
        parse_key_value(key_value, &stored)
        if span_size(stored.key) == 0:
            raise ValueError(f"revision {main}.{sub} has no key")
        if tombstone:
            stored.value.at = stored.value.end = NULL
            stored.create_revision = stored.version = stored.lease = 0
        elif stored.mod_revision != <int64_t>main or stored.version < 1 or not (
                0 < stored.create_revision <= stored.mod_revision):
            raise ValueError(f"revision {main}.{sub} contradicts its KeyValue")
        self.add_version(&stored, <int64_t>main, <uint32_t>sub)
        self.revision = <int64_t>main
        self.sub = <uint32_t>sub
        self.versions += 1
        if self.view.active.keys >= TABLE_KEYS_MAX or (
                self.view.active.bytes_used >= TABLE_BYTES_MAX):
            self.write()

    cdef int add_version(self, const StoredVersion *stored, int64_t main, uint32_t sub) except -1:
        cdef KeyVersion prior
        cdef Record *record
        cdef int found = self.view.lookup(
            stored.key.at, span_size(stored.key), INT64_MAX, &prior)
        record = self.view.active.add(
            stored.key.at, span_size(stored.key), stored.value.at, span_size(stored.value),
            main, sub, stored.lease, None)
        record.create_revision = stored.create_revision
        record.version = stored.version
        if found != FOUND_NOTHING:
            record.previous_main = prior.main
            record.previous_sub = prior.sub
        return 0

    cdef int write(self) except -1:
        """Bring the table to the trees, and begin another."""
        cdef StateTree tree = self.tree
        cdef MemTable table = self.view.active
        cdef Buffer *side_rows = &self.side_rows
        cdef int status
        with nogil:
            status = write_table(tree, table, side_rows)
        check_status(status, f"write {tree.path}")
        self.side_rows.size = 0
        tree.renew()
        self.view.active = MemTable()
        return 0

    def finish(
        self, *, cluster_id, member_id, index, term, revision, compact_revision, leases, records
    ):
        if self.closed:
            raise ValueError("the builder is closed")
        meta = {
            b"format": FORMAT,
            b"identity": struct.pack("<QQ", cluster_id, member_id),
            b"applied": struct.pack("<QQ", index, term),
            b"revision": struct.pack("<qq", revision, compact_revision),
            **{RECORD_PREFIX + name: value for name, value in records.items()},
        }
        for name, value in meta.items():
            add_side_row(&self.side_rows, SIDE_META, name, value)
        for lease, ttl in leases.items():
            row = struct.pack("<q", ttl)
            add_side_row(&self.side_rows, SIDE_LEASES, struct.pack(">q", lease), row)
        self.write()
        self.close()

    def close(self):
        if not self.closed:
            self.closed = True
            self.view.active = None
            self.tree.close()
