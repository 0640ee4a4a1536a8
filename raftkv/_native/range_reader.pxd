# A range too large for one answer: measured first, then encoded piece by piece, at one revision.

cimport cython
from libc.stdint cimport int64_t, uint64_t
from raftkv._native.mvcc_request cimport RangeRequest
from raftkv._native.mvcc_store cimport MvccStore
from raftkv._native.wire cimport Buffer

@cython.final
cdef class RangeReader:
    cdef MvccStore store
    cdef bytes message            # the request; `request` points into it
    cdef RangeRequest request
    cdef bytes header             # ResponseHeader with its tag
    cdef readonly int64_t revision
    cdef bytes next_key           # where the next slice begins
    cdef Buffer out
    cdef bint measured
    cdef bint ended               # `read` has given everything
    cdef readonly int64_t count   # keys met by `measure` so far
    cdef int64_t wanted           # of them, to be sent: those that pass filters and limit
    cdef int64_t sent
    cdef bint more
    cdef readonly uint64_t size   # of the whole message, once measured

    cdef int check(self) except -1
