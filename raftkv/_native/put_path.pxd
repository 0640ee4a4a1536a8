# The way of a put that nothing is special about: into the batch that is being gathered.

from raftkv._native.command_batch cimport CommandBatch
from raftkv._native.kv_path cimport KvPath
from raftkv._native.wire cimport Span

cdef enum:
    KIND_PUT = 1
    RESERVED_BYTES = 65536        # of requests: so many the quota is asked for at once

cdef class PutPath(KvPath):
    cdef object proposals
    cdef object quota
    cdef object wake              # to be called when a batch begins to fill
    cdef Py_ssize_t request_bytes_max
    cdef Py_ssize_t batch_bytes_max
    cdef Py_ssize_t reserved      # bytes of requests that the quota knows of already

    cdef bint is_admitted(self, Py_ssize_t size) except -1
    cdef CommandBatch batch_for(self, stream, Span request)
    cdef int added(self, CommandBatch batch) except -1
