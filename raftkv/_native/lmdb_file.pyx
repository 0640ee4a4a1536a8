"""Creating and checking LMDB files: see `lmdb_file.pxd`.

LMDB writes the first pages of a new file without syncing them, and refuses a file that has but a
part of them: a disk that was full, or a power cut in that moment, would leave a directory that
never opens again. So the file is made under another name, synced, and renamed.
"""

import contextlib
import os

from raftkv._native.lmdb cimport (
    MDB_CREATE,
    MDB_NEXT,
    MDB_NOSUBDIR,
    MDB_NOTFOUND,
    MDB_NOTLS,
    MDB_RDONLY,
    MDB_cursor,
    MDB_dbi,
    MDB_envinfo,
    MDB_stat,
    MDB_txn,
    MDB_val,
    mdb_cursor_close,
    mdb_cursor_get,
    mdb_cursor_open,
    mdb_dbi_open,
    mdb_env_close,
    mdb_env_create,
    mdb_env_info,
    mdb_env_open,
    mdb_env_set_mapsize,
    mdb_env_set_maxdbs,
    mdb_env_stat,
    mdb_txn_abort,
    mdb_txn_begin,
    mdb_txn_commit,
)

from raftkv.storage.directory_sync import sync_directory

cdef enum:
    LOCK_BYTES = 8192             # of a lock file with LMDB's default of 126 readers


cdef int create_lmdb(str directory, tuple trees, size_t map_size) except? -1:
    cdef int status
    file = os.path.join(directory, "data.mdb")
    draft = os.path.join(directory, "new.mdb")
    try:
        if not os.path.exists(file):
            for stale in (draft, draft + "-lock"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(stale)
            reserve_lock(draft + "-lock")
            status = write_draft(os.fsencode(draft), trees, map_size)
            if status:
                return status
            os.unlink(draft + "-lock")
            os.rename(draft, file)
        reserve_lock(os.path.join(directory, "lock.mdb"))
        sync_directory(directory)
        sync_directory(os.path.dirname(os.path.abspath(directory)))
    except OSError as error:
        return error.errno
    return 0


cdef int reserve_lock(str file) except -1:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, LOCK_BYTES)
    finally:
        os.close(descriptor)
    return 0


cdef int write_draft(bytes draft, tuple trees, size_t map_size) noexcept:
    """Make a file with empty trees; the commit syncs it."""
    cdef MDB_env *env = NULL
    cdef MDB_txn *txn = NULL
    cdef MDB_dbi dbi
    cdef int status = mdb_env_create(&env)
    if status:
        return status
    status = mdb_env_set_mapsize(env, map_size)
    if status == 0:
        status = mdb_env_set_maxdbs(env, len(trees))
    if status == 0:
        status = mdb_env_open(env, draft, MDB_NOTLS | MDB_NOSUBDIR, 0o600)
    if status == 0:
        status = mdb_txn_begin(env, NULL, 0, &txn)
    if status == 0:
        for name in trees:
            if status == 0:
                status = mdb_dbi_open(txn, <bytes>name, MDB_CREATE, &dbi)
        if status:
            mdb_txn_abort(txn)
        else:
            status = mdb_txn_commit(txn)
    mdb_env_close(env)
    return status


cdef size_t free_pages(MDB_env *env, size_t first, size_t last) except? 0:
    """Return how many of these pages the newest state has on its list of free ones."""
    cdef MDB_txn *txn = NULL
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, data
    cdef const size_t *pages
    cdef size_t found = 0, i
    if mdb_txn_begin(env, NULL, MDB_RDONLY, &txn):
        return 0
    status = mdb_cursor_open(txn, 0, &cursor)      # LMDB's own tree of free pages
    while status == 0:
        status = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)
        if status == 0:
            pages = <const size_t *>data.mv_data   # their number, then they themselves
            for i in range(1, min(pages[0] + 1, data.mv_size // sizeof(size_t))):
                found += first <= pages[i] <= last
    if cursor != NULL:
        mdb_cursor_close(cursor)
    mdb_txn_abort(txn)
    return found if status == MDB_NOTFOUND else 0


cdef size_t missing_bytes(MDB_env *env, str file) except? 1:
    cdef MDB_envinfo info
    cdef MDB_stat stat
    mdb_env_info(env, &info)
    mdb_env_stat(env, &stat)
    cdef size_t needed = (info.me_last_pgno + 1) * stat.ms_psize
    cdef size_t size = os.path.getsize(file)
    cdef size_t first = size // stat.ms_psize
    if not info.me_last_txnid or size >= needed:
        return 0
    # What was taken and given back in one transaction is never written, at the end neither. Where
    # more is missing, a page of zeros is an error to LMDB; no page at all would kill the process.
    os.truncate(file, needed)
    if free_pages(env, first, info.me_last_pgno) == info.me_last_pgno + 1 - first:
        return 0
    os.truncate(file, size)
    return needed - size
