# Building a state directory from versions in revision order: restoring a snapshot of etcd's kind.
#
# Versions pass through a memory table that is written when it is full, as a member's are, so that
# memory does not grow with the state and the trees are those that a member would have made.

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from raftkv._native.mvcc_view cimport MvccView
from raftkv._native.state_tree cimport StateTree
from raftkv._native.wire cimport Buffer, Span

cdef enum:
    TABLE_KEYS_MAX = 1 << 16
    TABLE_BYTES_MAX = 64 << 20
    REVISION_BYTES = 17
    TOMBSTONE_BYTES = 18

cdef struct StoredVersion:        # an mvccpb.KeyValue
    Span key
    Span value
    int64_t create_revision
    int64_t mod_revision
    int64_t version
    int64_t lease

@cython.final
cdef class StateBuilder:
    cdef StateTree tree
    cdef MvccView view
    cdef Buffer side_rows
    cdef bint closed

    # Of the version added last; zeros before the first.
    cdef readonly int64_t revision
    cdef uint32_t sub
    cdef readonly uint64_t versions       # added so far

    cdef int add_version(self, const StoredVersion *stored, int64_t main, uint32_t sub) except -1
    cdef int write(self) except -1
