"""Taking back a flush that did not end: see `state_undo.pxd` for the contract."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset
from raftkv._native.lmdb cimport (
    MDB_CORRUPTED,
    MDB_LAST,
    MDB_NOTFOUND,
    MDB_cursor,
    MDB_txn,
    MDB_val,
    mdb_cursor_close,
    mdb_cursor_del,
    mdb_cursor_get,
    mdb_cursor_open,
    mdb_del,
    mdb_get,
    mdb_put,
    mdb_txn_abort,
    mdb_txn_begin,
    mdb_txn_commit,
)
from raftkv._native.state_tree cimport (
    HISTORY_HEADER_BYTES,
    HISTORY_KEY_BYTES,
    INDEX_KEY_BYTES,
    INDEX_ROW_BYTES,
    HistoryHeader,
    IndexRow,
    check_status,
    history_key,
    read_be64,
)
from raftkv._native.state_writer cimport change_bucket, move_lease


cdef int read_header(MDB_val key, MDB_val data, HistoryHeader *header) noexcept nogil:
    """Copy a history record's header; MDB_CORRUPTED where it cannot be one."""
    if key.mv_size != HISTORY_KEY_BYTES or data.mv_size < HISTORY_HEADER_BYTES:
        return MDB_CORRUPTED
    memcpy(header, data.mv_data, HISTORY_HEADER_BYTES)
    return MDB_CORRUPTED if header.key_size > data.mv_size - HISTORY_HEADER_BYTES else 0


cdef int find_previous(
    StateTree tree, MDB_txn *txn, const HistoryHeader *header, IndexRow *row
) noexcept nogil:
    """Make the index row of the version before this one; MDB_NOTFOUND where there is none."""
    cdef uint8_t name[HISTORY_KEY_BYTES]
    cdef HistoryHeader before
    cdef MDB_val key, data
    cdef int status
    if header.previous_main == 0:
        return MDB_NOTFOUND
    history_key(name, header.previous_main, header.previous_sub)
    key.mv_data = name
    key.mv_size = HISTORY_KEY_BYTES
    status = mdb_get(txn, tree.history, &key, &data)
    if status == 0:
        status = read_header(key, data, &before)
    if status:
        return status
    memset(row, 0, sizeof(IndexRow))
    row.main = header.previous_main
    row.sub = header.previous_sub
    row.create_revision = before.create_revision
    row.version = before.version
    row.lease = before.lease
    return 0


cdef int set_index(
    StateTree tree, MDB_txn *txn, const uint8_t *key, size_t key_size, const IndexRow *new
) noexcept nogil:
    """Set (or with NULL remove) a key's index row, its lease included."""
    cdef MDB_val name, data
    cdef IndexRow old
    cdef bint had
    cdef int status
    if key_size > INDEX_KEY_BYTES:
        return change_bucket(tree, txn, key, key_size, new)
    name.mv_data = <void *>key
    name.mv_size = key_size
    status = mdb_get(txn, tree.index, &name, &data)
    had = status == 0
    if had:
        if data.mv_size != INDEX_ROW_BYTES:
            return MDB_CORRUPTED
        memcpy(&old, data.mv_data, INDEX_ROW_BYTES)
    elif status != MDB_NOTFOUND:
        return status
    if new != NULL:
        data.mv_data = <void *>new
        data.mv_size = INDEX_ROW_BYTES
        status = mdb_put(txn, tree.index, &name, &data, 0)
    else:
        status = mdb_del(txn, tree.index, &name, NULL) if had else 0
    return status if status else move_lease(tree, txn, &old if had else NULL, new)


cdef int undo_version(
    StateTree tree, MDB_txn *txn, MDB_cursor *cursor, MDB_val name, MDB_val data
) noexcept nogil:
    """Take back the version at the cursor, the newest in history."""
    cdef HistoryHeader header
    cdef IndexRow before
    cdef uint8_t *key
    cdef int status = read_header(name, data, &header)
    if status:
        return status
    status = find_previous(tree, txn, &header, &before)
    if status and status != MDB_NOTFOUND:
        return status
    key = <uint8_t *>data.mv_data + HISTORY_HEADER_BYTES
    status = set_index(tree, txn, key, header.key_size, NULL if status else &before)
    return status if status else mdb_cursor_del(cursor, 0)


cdef int undo_all(StateTree tree, MDB_txn *txn, int64_t revision, int64_t *undone) noexcept nogil:
    """Take back from the end on until a version at or below `revision` is the last."""
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, data
    cdef int status = mdb_cursor_open(txn, tree.history, &cursor)
    while status == 0:
        status = mdb_cursor_get(cursor, &key, &data, MDB_LAST)
        if status == MDB_NOTFOUND or (
                status == 0 and <int64_t>read_be64(<uint8_t *>key.mv_data) <= revision):
            status = 0
            break
        if status == 0:
            status = undo_version(tree, txn, cursor, key, data)
            undone[0] += 1
    if cursor != NULL:
        mdb_cursor_close(cursor)
    return status


cdef bint has_above(StateTree tree, int64_t revision) except -1:
    """Tell whether the snapshot has a version above `revision`."""
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, data
    cdef int status
    check_status(mdb_cursor_open(tree.snapshot, tree.history, &cursor), "read the history")
    status = mdb_cursor_get(cursor, &key, &data, MDB_LAST)
    mdb_cursor_close(cursor)
    if status == MDB_NOTFOUND:
        return False
    check_status(status, "read the history")
    if key.mv_size != HISTORY_KEY_BYTES:
        check_status(MDB_CORRUPTED, "read the history")
    return <int64_t>read_be64(<uint8_t *>key.mv_data) > revision


cdef int64_t undo_above(StateTree tree, int64_t revision) except -1:
    cdef MDB_txn *txn = NULL
    cdef int64_t undone = 0
    cdef int status
    if not has_above(tree, revision):
        return 0
    with nogil:
        status = mdb_txn_begin(tree.env, NULL, 0, &txn)
        if status == 0:
            status = undo_all(tree, txn, revision, &undone)
            if status:
                mdb_txn_abort(txn)
            else:
                status = mdb_txn_commit(txn)
    check_status(status, f"take back an unfinished flush of {tree.path}")
    tree.renew()
    return undone
