# A range too large for one answer: measured first, then encoded piece by piece, at one revision.

cimport cython
from libc.stdint cimport int64_t, uint64_t
from raftkv._native.count_walk cimport CountWalk
from raftkv._native.mvcc_request cimport RangeRequest
from raftkv._native.mvcc_store cimport MvccStore
from raftkv._native.mvcc_view cimport MergeCursor
from raftkv._native.wire cimport Buffer

@cython.final
cdef class RangeReader:
    cdef MvccStore store
    cdef bytes message            # the request; `request` points into it
    cdef RangeRequest request
    cdef bytes header             # ResponseHeader with its tag
    cdef readonly int64_t revision
    cdef bytes next_key           # where the next slice begins
    cdef CountWalk walk           # counts what is not sent; None before that
    cdef Buffer out
    cdef bint measured
    cdef bint ended               # `read` has given everything
    cdef readonly int64_t count   # keys met by `measure` so far
    cdef int64_t wanted           # of them, to be sent: those that pass filters and limit
    cdef int64_t sent
    cdef bint more
    cdef readonly uint64_t size   # of the whole message, once measured

    cdef int check(self) except -1
    cdef int64_t meet(self, MergeCursor *at, int64_t keys_max) except -1
    cdef int go_on_at(self, MergeCursor *at) except -1
