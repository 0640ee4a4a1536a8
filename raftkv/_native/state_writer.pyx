"""Writers of the state tree: see `state_writer.pxd` for the contracts."""

from libc.errno cimport ENOMEM
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from raftkv._native.lmdb cimport (
    MDB_APPEND,
    MDB_CORRUPTED,
    MDB_NOMETASYNC,
    MDB_NOTFOUND,
    MDB_RESERVE,
    MDB_SET_KEY,
    MDB_SET_RANGE,
    MDB_cursor,
    MDB_txn,
    MDB_val,
    mdb_cursor_close,
    mdb_cursor_del,
    mdb_cursor_get,
    mdb_cursor_open,
    mdb_cursor_put,
    mdb_del,
    mdb_env_set_flags,
    mdb_get,
    mdb_put,
    mdb_txn_abort,
    mdb_txn_begin,
    mdb_txn_commit,
)
from raftkv._native.mem_table cimport KeyNode, Record, compare_keys, first_node
from raftkv._native.state_tree cimport (
    BUCKET_ENTRY_BYTES,
    HISTORY_HEADER_BYTES,
    HISTORY_KEY_BYTES,
    INDEX_KEY_BYTES,
    INDEX_ROW_BYTES,
    LEASE_KEY_BYTES,
    HistoryHeader,
    IndexRow,
    history_key,
    lease_key,
    next_bucket_entry,
    read_be32,
    read_be64,
)
from raftkv._native.wire cimport buffer_reserve, put_raw


cdef int add_side_row(Buffer *rows, uint32_t tree, bytes key, bytes value) except -1:
    cdef SideRow row
    row.tree = tree
    row.deleted = value is None
    row.key_size = <uint32_t>len(key)
    row.value_size = 0 if value is None else <uint32_t>len(value)
    buffer_reserve(rows, sizeof(SideRow) + row.key_size + row.value_size)
    put_raw(rows, <uint8_t *>&row, sizeof(SideRow))
    put_raw(rows, <const uint8_t *>key, row.key_size)
    if value is not None:
        put_raw(rows, <const uint8_t *>value, row.value_size)
    return 0


cdef int write_side_rows(StateTree tree, MDB_txn *txn, const Buffer *rows) noexcept nogil:
    cdef const uint8_t *at = rows.data
    cdef const uint8_t *end = rows.data + rows.size
    cdef SideRow row
    cdef MDB_val key, data
    cdef int status
    while at < end:
        memcpy(&row, at, sizeof(SideRow))
        key.mv_data = <void *>(at + sizeof(SideRow))
        key.mv_size = row.key_size
        data.mv_data = <void *>(at + sizeof(SideRow) + row.key_size)
        data.mv_size = row.value_size
        at += sizeof(SideRow) + row.key_size + row.value_size
        dbi = tree.leases if row.tree == SIDE_LEASES else tree.meta
        if row.deleted:
            status = mdb_del(txn, dbi, &key, NULL)
            if status == MDB_NOTFOUND:
                status = 0
        else:
            status = mdb_put(txn, dbi, &key, &data, 0)
        if status:
            return status
    return 0


cdef inline void row_of(const Record *record, IndexRow *row) noexcept nogil:
    row.main = record.main
    row.sub = record.sub
    row.value_room = record.value_size + 1
    row.create_revision = record.create_revision
    row.version = record.version
    row.lease = record.lease


cdef int move_lease(
    StateTree tree, MDB_txn *txn, const IndexRow *old, const IndexRow *new
) noexcept nogil:
    """Detach what `old` held and attach what `new` holds; either may be NULL."""
    cdef uint8_t name[LEASE_KEY_BYTES]
    cdef MDB_val key, data
    cdef int status
    key.mv_data = name
    key.mv_size = LEASE_KEY_BYTES
    if old != NULL and old.lease:
        lease_key(name, old.lease, old.main, old.sub)
        status = mdb_del(txn, tree.lease_keys, &key, NULL)
        if status and status != MDB_NOTFOUND:
            return status
    if new != NULL and new.lease:
        lease_key(name, new.lease, new.main, new.sub)
        data.mv_data = NULL
        data.mv_size = 0
        return mdb_put(txn, tree.lease_keys, &key, &data, 0)
    return 0


cdef int change_bucket(
    StateTree tree, MDB_txn *txn, const uint8_t *key, size_t key_size, const IndexRow *new
) noexcept nogil:
    """Set (or with NULL remove) one long key in its bucket, leases included.

    Cost: O(bucket); a bucket is as large as the keys are many that share their first
    INDEX_KEY_BYTES bytes.
    """
    cdef uint8_t prefix[INDEX_KEY_BYTES + 1]
    cdef MDB_val name, data
    cdef const uint8_t *at = NULL
    cdef const uint8_t *end = NULL
    cdef const uint8_t *before
    cdef const uint8_t *entry_key
    cdef size_t entry_size
    cdef uint8_t *bucket
    cdef size_t size = 0
    cdef IndexRow row
    cdef IndexRow old
    cdef uint32_t size32 = <uint32_t>key_size
    cdef bint placed = new == NULL
    cdef int status, order
    memcpy(prefix, key, INDEX_KEY_BYTES)
    prefix[INDEX_KEY_BYTES] = 0
    name.mv_data = prefix
    name.mv_size = INDEX_KEY_BYTES + 1
    memset(&old, 0, sizeof(IndexRow))
    status = mdb_get(txn, tree.index, &name, &data)
    if status == 0:
        at = <uint8_t *>data.mv_data
        end = at + data.mv_size
    elif status != MDB_NOTFOUND:
        return status
    bucket = <uint8_t *>malloc((end - at) + BUCKET_ENTRY_BYTES + key_size)
    if bucket == NULL:
        return ENOMEM
    while True:
        before = at
        status = next_bucket_entry(&at, end, &entry_key, &entry_size, &row)
        if status < 0:
            free(bucket)
            return MDB_CORRUPTED
        order = compare_keys(entry_key, entry_size, key, key_size) if status else 1
        if order == 0:
            old = row
        if not placed and order >= 0:
            memcpy(bucket + size, &size32, 4)
            memcpy(bucket + size + 4, new, INDEX_ROW_BYTES)
            memcpy(bucket + size + BUCKET_ENTRY_BYTES, key, key_size)
            size += BUCKET_ENTRY_BYTES + key_size
            placed = True
        if status == 0:
            break
        if order != 0:
            memcpy(bucket + size, before, at - before)
            size += at - before
    data.mv_data = bucket
    data.mv_size = size
    status = mdb_put(txn, tree.index, &name, &data, 0) if size else mdb_del(
        txn, tree.index, &name, NULL)
    free(bucket)
    if size == 0 and status == MDB_NOTFOUND:
        status = 0                # what is taken back may not have come to the index
    return status if status else move_lease(tree, txn, &old, new)


cdef int write_index(StateTree tree, MDB_txn *txn, TableWrite *at) noexcept nogil:
    """Put the newest version of each key, in key order, as far as the step's budget goes."""
    cdef KeyNode *node = at.node
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, data
    cdef IndexRow old, new
    cdef bint had
    cdef int status = mdb_cursor_open(txn, tree.index, &cursor)
    while status == 0 and node != NULL and at.cost < STEP_BYTES:
        at.cost += PAGE_BYTES
        at.done += 1
        row_of(node.newest, &new)
        if node.key_size > INDEX_KEY_BYTES:
            status = change_bucket(tree, txn, node.key, node.key_size, &new)
            node = node.next[0]
            continue
        key.mv_data = <void *>node.key
        key.mv_size = node.key_size
        status = mdb_cursor_get(cursor, &key, &data, MDB_SET_KEY)
        had = status == 0 and data.mv_size == INDEX_ROW_BYTES
        if had:
            memcpy(&old, data.mv_data, INDEX_ROW_BYTES)
        if status == 0 or status == MDB_NOTFOUND:
            key.mv_data = <void *>node.key
            key.mv_size = node.key_size
            data.mv_data = &new
            data.mv_size = INDEX_ROW_BYTES
            status = mdb_cursor_put(cursor, &key, &data, 0)
        if status == 0 and ((had and old.lease) or new.lease):
            status = move_lease(tree, txn, &old if had else NULL, &new)
        node = node.next[0]
    at.node = node
    if cursor != NULL:
        mdb_cursor_close(cursor)
    return status


cdef int write_history(
    StateTree tree, MDB_txn *txn, MemTable table, TableWrite *at
) noexcept nogil:
    """Append versions in revision order, each built in LMDB's own page; see `write_index`."""
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, data
    cdef uint8_t name[HISTORY_KEY_BYTES]
    cdef HistoryHeader header
    cdef Record *record
    cdef uint8_t *out
    cdef int status = mdb_cursor_open(txn, tree.history, &cursor)
    while status == 0 and at.record < table.records and at.cost < STEP_BYTES:
        record = table.order[at.record]
        history_key(name, record.main, record.sub)
        key.mv_data = name
        key.mv_size = HISTORY_KEY_BYTES
        data.mv_data = NULL
        data.mv_size = HISTORY_HEADER_BYTES + record.node.key_size + record.value_size
        status = mdb_cursor_put(cursor, &key, &data, MDB_APPEND | MDB_RESERVE)
        if status:
            break
        header.create_revision = record.create_revision
        header.version = record.version
        header.lease = record.lease
        header.previous_main = record.previous_main
        header.previous_sub = record.previous_sub
        header.key_size = record.node.key_size
        out = <uint8_t *>data.mv_data
        memcpy(out, &header, HISTORY_HEADER_BYTES)
        memcpy(out + HISTORY_HEADER_BYTES, record.node.key, record.node.key_size)
        if record.value_size:
            memcpy(out + HISTORY_HEADER_BYTES + record.node.key_size,
                   record.value, record.value_size)
        at.record += 1
        at.done += 1
        at.cost += HISTORY_KEY_BYTES + data.mv_size * (
            LARGE_RECORD_WEIGHT if data.mv_size >= LARGE_RECORD_BYTES else 1)
    if cursor != NULL:
        mdb_cursor_close(cursor)
    return status


cdef void begin_table(MemTable table, TableWrite *at) noexcept nogil:
    memset(at, 0, sizeof(TableWrite))
    at.node = first_node(table)
    at.total = table.records + <size_t>table.keys


cdef int write_some(
    StateTree tree, MemTable table, const Buffer *side_rows, TableWrite *at
) noexcept nogil:
    cdef MDB_txn *txn = NULL
    cdef bint finished = False
    cdef int status = mdb_txn_begin(tree.env, NULL, 0, &txn)
    if status:
        return status
    at.cost = 0
    if at.record < table.records:
        status = write_history(tree, txn, table, at)
    if status == 0 and at.record == table.records:
        status = write_index(tree, txn, at)
        finished = at.node == NULL
    if status == 0 and finished:
        status = write_side_rows(tree, txn, side_rows)
    if status == 0:
        status = mdb_env_set_flags(tree.env, MDB_NOMETASYNC, not finished)
    if status:
        mdb_txn_abort(txn)
        return status
    status = mdb_txn_commit(txn)
    at.finished = finished and status == 0
    return status


cdef int write_table(StateTree tree, MemTable table, const Buffer *side_rows) noexcept nogil:
    cdef TableWrite at
    cdef int status = 0
    begin_table(table, &at)
    while status == 0 and not at.finished:
        status = write_some(tree, table, side_rows, &at)
    return status


cdef int drop_index(
    StateTree tree, MDB_txn *txn, const uint8_t *key, size_t size, int64_t main, uint32_t sub
) noexcept nogil:
    """Remove the key's index row if it still is the tombstone (main, sub)."""
    cdef MDB_val name, data
    cdef IndexRow row
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef const uint8_t *entry_key
    cdef size_t entry_size
    cdef uint8_t prefix[INDEX_KEY_BYTES + 1]
    cdef int status
    name.mv_data = <void *>key
    name.mv_size = size
    if size > INDEX_KEY_BYTES:
        memcpy(prefix, key, INDEX_KEY_BYTES)
        prefix[INDEX_KEY_BYTES] = 0
        name.mv_data = prefix
        name.mv_size = INDEX_KEY_BYTES + 1
    status = mdb_get(txn, tree.index, &name, &data)
    if status:
        return 0 if status == MDB_NOTFOUND else status
    if size <= INDEX_KEY_BYTES:
        if data.mv_size != INDEX_ROW_BYTES:
            return MDB_CORRUPTED
        memcpy(&row, data.mv_data, INDEX_ROW_BYTES)
        if row.main != main or row.sub != sub:
            return 0
        return mdb_del(txn, tree.index, &name, NULL)
    at = <uint8_t *>data.mv_data
    end = at + data.mv_size
    while next_bucket_entry(&at, end, &entry_key, &entry_size, &row) > 0:
        if compare_keys(entry_key, entry_size, key, size) == 0:
            if row.main != main or row.sub != sub:
                return 0
            return change_bucket(tree, txn, key, size, NULL)
    return 0


cdef int compact_record(
    StateTree tree, MDB_txn *txn, MDB_cursor *cursor, MDB_val name, MDB_val data, int64_t target
) noexcept nogil:
    """Delete what the record at the cursor supersedes, and itself if it is a spent tombstone."""
    cdef HistoryHeader header
    cdef uint8_t previous[HISTORY_KEY_BYTES]
    cdef MDB_val key
    cdef int64_t main = <int64_t>read_be64(<uint8_t *>name.mv_data)
    cdef uint32_t sub = read_be32(<uint8_t *>name.mv_data + 8)
    cdef int status = 0
    if name.mv_size != HISTORY_KEY_BYTES or data.mv_size < HISTORY_HEADER_BYTES:
        return MDB_CORRUPTED
    memcpy(&header, data.mv_data, HISTORY_HEADER_BYTES)
    if header.key_size > data.mv_size - HISTORY_HEADER_BYTES:
        return MDB_CORRUPTED
    if header.version == 0 and main < target:
        status = drop_index(
            tree, txn, <uint8_t *>data.mv_data + HISTORY_HEADER_BYTES, header.key_size, main, sub
        )
        if status == 0:
            status = mdb_cursor_del(cursor, 0)
    if status == 0 and header.previous_main:
        history_key(previous, header.previous_main, header.previous_sub)
        key.mv_data = previous
        key.mv_size = HISTORY_KEY_BYTES
        status = mdb_del(txn, tree.history, &key, NULL)
        if status == MDB_NOTFOUND:
            status = 0
    return status


cdef int compact_range(StateTree tree, MDB_txn *txn, CompactionStep *step) noexcept nogil:
    """Look at records from `position` on; each is found afresh, as deletions move the cursor."""
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, data
    cdef uint8_t name[HISTORY_KEY_BYTES]
    cdef int64_t main = step.position, seen = 0
    cdef uint32_t sub = 0
    cdef int status = mdb_cursor_open(txn, tree.history, &cursor)
    while status == 0:
        history_key(name, main, sub)
        key.mv_data = name
        key.mv_size = HISTORY_KEY_BYTES
        status = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE)
        if status == MDB_NOTFOUND or (
                status == 0 and <int64_t>read_be64(<uint8_t *>key.mv_data) > step.target):
            step.finished = True
            status = 0
            break
        if status:
            break
        if seen >= step.records_max and <int64_t>read_be64(<uint8_t *>key.mv_data) > main:
            break
        main = <int64_t>read_be64(<uint8_t *>key.mv_data)
        sub = read_be32(<uint8_t *>key.mv_data + 8)
        status = compact_record(tree, txn, cursor, key, data, step.target)
        seen += 1
        sub += 1
    step.position = step.target if step.finished else main + 1
    if cursor != NULL:
        mdb_cursor_close(cursor)
    return status


cdef int compact_some(StateTree tree, CompactionStep *step) noexcept nogil:
    cdef MDB_txn *txn = NULL
    cdef MDB_val key, data
    cdef int64_t progress[2]
    cdef int status = mdb_txn_begin(tree.env, NULL, 0, &txn)
    step.finished = False
    if status:
        return status
    status = compact_range(tree, txn, step)
    if status == 0:
        progress[0] = step.position
        progress[1] = step.target if step.finished else 0
        key.mv_data = <void *><const char *>"compaction"
        key.mv_size = 10
        data.mv_data = progress
        data.mv_size = sizeof(progress)
        status = mdb_put(txn, tree.meta, &key, &data, 0)
    if status:
        mdb_txn_abort(txn)
        return status
    return mdb_txn_commit(txn)
