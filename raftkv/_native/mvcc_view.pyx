"""Reading through tables and tree as one: see `mvcc_view.pxd` for the contracts.

A key's newest version at a revision is in the first of the three layers that has one at or below
that revision: every version of a layer is newer than every version of the layers under it.
"""

from libc.string cimport memset
from raftkv._native.mem_table cimport compare_keys
from raftkv._native.state_tree cimport HistoryRecord, close_cursor
from raftkv._native.wire cimport (
    VARINT_BYTES_MAX,
    buffer_reserve,
    put_byte,
    put_raw,
    put_varint,
    span_size,
    varint_size,
)

from raftkv.errors import StoreCorruptError


cdef int version_of_record(const Record *record, KeyVersion *out) noexcept nogil:
    out.key = record.node.key
    out.key_size = record.node.key_size
    out.main = record.main
    out.sub = record.sub
    out.has_value = True
    out.create_revision = record.create_revision
    out.version = record.version
    out.lease = record.lease
    out.value = record.value
    out.value_size = record.value_size
    return FOUND_VERSION if record.version else FOUND_TOMBSTONE


cdef void close_merge(MergeCursor *at) noexcept nogil:
    close_cursor(&at.tree)


cdef class MvccView:
    """The three layers; the store replaces `active` and `frozen` around a flush."""

    def __cinit__(self, tree: StateTree) -> None:
        self.tree = tree
        self.active = MemTable()
        self.frozen = None

    cdef int lookup(
        self, const uint8_t *key, size_t size, int64_t revision, KeyVersion *out
    ) except -1:
        cdef KeyNode *node = self.active.find(key, size)
        cdef Record *record
        cdef IndexRow row
        if node != NULL:
            record = self.active.version_at(node, revision)
            if record != NULL:
                return version_of_record(record, out)
        if self.frozen is not None:
            node = self.frozen.find(key, size)
            if node != NULL:
                record = self.frozen.version_at(node, revision)
                if record != NULL:
                    return version_of_record(record, out)
        if not self.tree.get_index(key, size, &row):
            return FOUND_NOTHING
        return self.lookup_row(key, size, &row, revision, out)

    cdef int lookup_row(
        self, const uint8_t *key, size_t size, const IndexRow *row, int64_t revision,
        KeyVersion *out,
    ) except -1:
        """Resolve an index row at a revision, down the chain of previous versions."""
        cdef HistoryRecord record
        cdef int64_t main = row.main
        cdef uint32_t sub = row.sub
        out.key = key
        out.key_size = size
        out.has_value = False
        if main <= revision:
            out.main = main
            out.sub = sub
            out.create_revision = row.create_revision
            out.version = row.version
            out.lease = row.lease
            return FOUND_VERSION if row.version else FOUND_TOMBSTONE
        while main > revision:
            if main == 0 or not self.tree.get_history(main, sub, &record):
                return FOUND_NOTHING
            if record.header.previous_main == 0:
                return FOUND_NOTHING
            main = record.header.previous_main
            sub = record.header.previous_sub
        if not self.tree.get_history(main, sub, &record):
            return FOUND_NOTHING        # a tombstone that compaction has removed
        out.main = main
        out.sub = sub
        out.has_value = True
        out.create_revision = record.header.create_revision
        out.version = record.header.version
        out.lease = record.header.lease
        out.value = record.value
        out.value_size = record.value_size
        return FOUND_VERSION if record.header.version else FOUND_TOMBSTONE

    cdef int load_value(self, KeyVersion *version) except -1:
        cdef HistoryRecord record
        if version.has_value:
            return 0
        if not self.tree.get_history(version.main, version.sub, &record):
            raise StoreCorruptError(f"no history for revision {version.main}/{version.sub}")
        version.value = record.value
        version.value_size = record.value_size
        version.has_value = True
        return 0

    cdef int open_merge(
        self, MergeCursor *at, Span key, Span range_end, int64_t revision
    ) except -1:
        memset(at, 0, sizeof(MergeCursor))
        at.revision = revision
        at.single = span_size(range_end) == 0
        at.unbounded = span_size(range_end) == 1 and range_end.at[0] == 0
        at.range_end = range_end
        if at.single:
            at.range_end = key
            return 0
        at.active = self.active.seek(key.at, span_size(key))
        if self.frozen is not None:
            at.frozen = self.frozen.seek(key.at, span_size(key))
        return self.tree.open_cursor(&at.tree, key.at, span_size(key))

    cdef int next_version(self, MergeCursor *at, KeyVersion *out) except -1:
        cdef const uint8_t *key
        cdef size_t size
        cdef int found
        if at.single:
            if at.range_end.at == NULL:
                return 0
            found = self.lookup(
                at.range_end.at, span_size(at.range_end), at.revision, out)
            at.range_end.at = NULL
            return found == FOUND_VERSION
        while True:
            key = NULL
            size = 0
            if at.active != NULL:
                key = at.active.key
                size = at.active.key_size
            if at.frozen != NULL and (key == NULL or compare_keys(
                    at.frozen.key, at.frozen.key_size, key, size) < 0):
                key = at.frozen.key
                size = at.frozen.key_size
            if at.tree.key != NULL and (key == NULL or compare_keys(
                    at.tree.key, at.tree.key_size, key, size) < 0):
                key = at.tree.key
                size = at.tree.key_size
            if key == NULL or (not at.unbounded and compare_keys(
                    key, size, at.range_end.at, span_size(at.range_end)) >= 0):
                return 0
            if resolve_and_step(self, at, key, size, out) == FOUND_VERSION:
                return 1

    cdef bint in_memory(self, const uint8_t *key, size_t size) noexcept:
        if self.active.find(key, size) != NULL:
            return True
        return self.frozen is not None and self.frozen.find(key, size) != NULL


cdef int resolve_and_step(
    MvccView view, MergeCursor *at, const uint8_t *key, size_t size, KeyVersion *out
) except -1:
    """Find the version of the smallest key, and move every layer that stands on it."""
    cdef Record *record = NULL
    cdef int found = FOUND_NOTHING
    cdef bint on_tree
    on_tree = at.tree.key != NULL and compare_keys(at.tree.key, at.tree.key_size, key, size) == 0
    if at.active != NULL and compare_keys(at.active.key, at.active.key_size, key, size) == 0:
        record = view.active.version_at(at.active, at.revision)
        at.active = at.active.next[0]
    if at.frozen != NULL and compare_keys(at.frozen.key, at.frozen.key_size, key, size) == 0:
        if record == NULL:
            record = view.frozen.version_at(at.frozen, at.revision)
        at.frozen = at.frozen.next[0]
    if record != NULL:
        found = version_of_record(record, out)
    elif on_tree:
        found = view.lookup_row(key, size, &at.tree.row, at.revision, out)
    if on_tree:
        view.tree.next_row(&at.tree)
    return found


cdef size_t key_value_size(const KeyVersion *version, bint with_value) noexcept nogil:
    cdef size_t size = 1 + varint_size(version.key_size) + version.key_size
    if version.create_revision:
        size += 1 + varint_size(<uint64_t>version.create_revision)
    size += 1 + varint_size(<uint64_t>version.main)
    if version.version:
        size += 1 + varint_size(<uint64_t>version.version)
    if with_value and version.value_size:
        size += 1 + varint_size(version.value_size) + version.value_size
    if version.lease:
        size += 1 + varint_size(<uint64_t>version.lease)
    return size


cdef int write_key_value(
    Buffer *out, uint8_t tag, const KeyVersion *version, bint with_value
) except -1:
    cdef size_t size = key_value_size(version, with_value)
    buffer_reserve(out, 1 + VARINT_BYTES_MAX + size)
    put_byte(out, tag)
    put_varint(out, size)
    put_byte(out, 10)
    put_varint(out, version.key_size)
    put_raw(out, version.key, version.key_size)
    if version.create_revision:
        put_byte(out, 16)
        put_varint(out, <uint64_t>version.create_revision)
    put_byte(out, 24)
    put_varint(out, <uint64_t>version.main)
    if version.version:
        put_byte(out, 32)
        put_varint(out, <uint64_t>version.version)
    if with_value and version.value_size:
        put_byte(out, 42)
        put_varint(out, version.value_size)
        put_raw(out, version.value, version.value_size)
    if version.lease:
        put_byte(out, 48)
        put_varint(out, <uint64_t>version.lease)
    return 0


cdef int write_event(Buffer *out, const KeyVersion *version) except -1:
    if version.version == 0:
        buffer_reserve(out, 2)
        put_byte(out, 8)
        put_byte(out, 1)
    return write_key_value(out, 18, version, version.version != 0)
