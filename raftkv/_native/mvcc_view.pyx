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


cdef extern from *:
    void prefetch "__builtin_prefetch" (const void *memory) noexcept nogil

cdef enum:
    CACHE_LINE_BYTES = 64
    FETCHED_BYTES_MAX = 512       # of a value that is found; the processor sees how it goes on


cdef int version_of_record(const Record *record, KeyVersion *out) noexcept nogil:
    out.key = record.node.key
    out.key_size = record.node.key_size
    out.main = record.main
    out.sub = record.sub
    out.has_value = out.has_size = True
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
        self.counts = RangeCounts()
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
        out.has_value = out.has_size = False
        out.record.mv_data = NULL
        if main <= revision:
            out.main = main
            out.sub = sub
            out.create_revision = row.create_revision
            out.version = row.version
            out.lease = row.lease
            if row.value_room:
                out.has_size = True
                out.value_size = row.value_room - 1
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
        out.has_value = out.has_size = True
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
        self.find_value(version)
        self.tree.parse_record(version.record, &record)
        if version.has_size and version.value_size != record.value_size:
            raise StoreCorruptError(
                f"a value of {record.value_size} bytes that has {version.value_size} in the index")
        version.value = record.value
        version.value_size = record.value_size
        version.has_value = version.has_size = True
        return 0

    cdef int find_value(self, KeyVersion *version) except -1:
        cdef size_t offset = 0
        if version.has_value or version.record.mv_data != NULL:
            return 0
        if not self.tree.find_history(version.main, version.sub, &version.record):
            raise StoreCorruptError(f"no history for revision {version.main}/{version.sub}")
        while offset < version.record.mv_size and offset < FETCHED_BYTES_MAX:
            prefetch(<const uint8_t *>version.record.mv_data + offset)
            offset += CACHE_LINE_BYTES
        return 0

    cdef int load_size(self, KeyVersion *version) except -1:
        return 0 if version.has_size else self.load_value(version)

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
        while self.next_key(at, &key, &size):
            if resolve_and_step(self, at, key, size, out) == FOUND_VERSION:
                return 1
        return 0

    cdef int next_key(self, MergeCursor *at, const uint8_t **key, size_t *size) except -1:
        in_tables(at, key, size)
        if at.tree.key != NULL and (key[0] == NULL or compare_keys(
                at.tree.key, at.tree.key_size, key[0], size[0]) < 0):
            key[0] = at.tree.key
            size[0] = at.tree.key_size
        return key[0] != NULL and (at.unbounded or compare_keys(
            key[0], size[0], at.range_end.at, span_size(at.range_end)) < 0)

    cdef int64_t count_alive(self, MergeCursor *at, int64_t keys_max) except -1:
        cdef int64_t met = 0
        cdef const uint8_t *key
        cdef const uint8_t *stop
        cdef size_t size, stop_size
        while met < keys_max:
            # As far as the tree is alone, one comparison a row is enough.
            in_tables(at, &stop, &stop_size)
            if not at.unbounded and (stop == NULL or compare_keys(
                    at.range_end.at, span_size(at.range_end), stop, stop_size) < 0):
                stop = at.range_end.at
                stop_size = span_size(at.range_end)
            while at.tree.key != NULL and met < keys_max and (stop == NULL or compare_keys(
                    at.tree.key, at.tree.key_size, stop, stop_size) < 0):
                met += self.row_alive(at)
                self.tree.next_row(&at.tree)
            if met == keys_max or not self.next_key(at, &key, &size):
                break
            met += alive_and_step(self, at, key, size)
        return met

    cdef bint row_alive(self, MergeCursor *at) except -1:
        """Whether the tree's key was alive at the cursor's revision.

        Who is alive with a life that began by then, was: only a key that was deleted or made after
        the revision needs a walk down the chain of its versions.
        """
        cdef KeyVersion version
        if at.tree.row.main <= at.revision:
            return at.tree.row.version != 0
        if at.tree.row.version and at.tree.row.create_revision <= at.revision:
            return True
        return self.lookup_row(
            at.tree.key, at.tree.key_size, &at.tree.row, at.revision, &version) == FOUND_VERSION

    cdef bint in_memory(self, const uint8_t *key, size_t size) noexcept:
        if self.active.find(key, size) != NULL:
            return True
        return self.frozen is not None and self.frozen.find(key, size) != NULL


cdef inline void in_tables(
    const MergeCursor *at, const uint8_t **key, size_t *size
) noexcept nogil:
    """The least key that the tables in memory come to next; NULL where there is none."""
    key[0] = NULL
    size[0] = 0
    if at.active != NULL:
        key[0] = at.active.key
        size[0] = at.active.key_size
    if at.frozen != NULL and (key[0] == NULL or compare_keys(
            at.frozen.key, at.frozen.key_size, key[0], size[0]) < 0):
        key[0] = at.frozen.key
        size[0] = at.frozen.key_size


cdef inline KeyNode *following(KeyNode *node) noexcept nogil:
    """The next node; what its visit will touch is on its way to the processor."""
    cdef KeyNode *next = node.next[0]
    if next != NULL:
        prefetch(next.newest)
        prefetch(next.next[0])
    return next


cdef int alive_and_step(
    MvccView view, MergeCursor *at, const uint8_t *key, size_t size
) except -1:
    """Whether the least key, which is in a table, was alive, as `row_alive`; moves the cursor."""
    cdef KeyVersion version
    cdef Record *newest = NULL
    if at.active != NULL and compare_keys(at.active.key, at.active.key_size, key, size) == 0:
        newest = at.active.newest
    elif at.frozen != NULL and compare_keys(at.frozen.key, at.frozen.key_size, key, size) == 0:
        newest = at.frozen.newest
    if newest == NULL or newest.main <= at.revision or newest.version == 0 \
            or newest.create_revision > at.revision:
        return resolve_and_step(view, at, key, size, &version) == FOUND_VERSION
    step(view, at, key, size)
    return 1


cdef int step(MvccView view, MergeCursor *at, const uint8_t *key, size_t size) except -1:
    """Move every layer that stands on the key."""
    cdef bint on_tree
    on_tree = at.tree.key != NULL and compare_keys(at.tree.key, at.tree.key_size, key, size) == 0
    if at.active != NULL and compare_keys(at.active.key, at.active.key_size, key, size) == 0:
        at.active = following(at.active)
    if at.frozen != NULL and compare_keys(at.frozen.key, at.frozen.key_size, key, size) == 0:
        at.frozen = following(at.frozen)
    return view.tree.next_row(&at.tree) if on_tree else 0


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
        at.active = following(at.active)
    if at.frozen != NULL and compare_keys(at.frozen.key, at.frozen.key_size, key, size) == 0:
        if record == NULL:
            record = view.frozen.version_at(at.frozen, at.revision)
        at.frozen = following(at.frozen)
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
