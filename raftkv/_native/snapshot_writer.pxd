# Receiving a snapshot: chunks become a file beside the live state, a synced transaction each.
#
# The file `incoming.mdb` has the trees of the state and one more, `incoming`, whose one row says
# how far the transfer is: it is written with the rows of each chunk: after a crash both agree.

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from raftkv._native.lmdb cimport MDB_dbi, MDB_env, MDB_txn
from raftkv._native.state_tree cimport TREES

@cython.final
cdef class SnapshotWriter:
    cdef MDB_env *env             # NULL: nothing received, complete, or closed
    cdef MDB_dbi trees[TREES]
    cdef MDB_dbi progress         # the tree `incoming`
    cdef size_t map_size
    cdef uint64_t member_id
    cdef uint64_t rows            # received
    cdef object lock
    cdef bint closed

    cdef readonly str directory   # of the live state
    cdef readonly str file        # of the snapshot
    cdef readonly uint64_t cluster_id
    cdef readonly uint32_t next_chunk
    cdef readonly bytes digest    # of what was received
    cdef readonly bint complete
    cdef readonly uint64_t index
    cdef readonly uint64_t term
    cdef readonly int64_t revision
    cdef readonly int64_t compact_revision

    cdef int open_env(self) except -1
    cdef int open_trees(self) except -1
    cdef int close_env(self) except -1
    cdef int load(self) except -1
    cdef int remove(self) except -1
    cdef int begin(self, bytes payload) except -1
    cdef int take_rows(self, bytes payload, bytes digest) except -1
    cdef int end(self, bytes payload) except -1
    cdef bytes progress_row(self, uint32_t next_chunk, uint64_t rows, bytes digest)
