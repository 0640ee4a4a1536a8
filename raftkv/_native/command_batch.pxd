"""Commands gathered for one Raft entry."""


cdef class CommandBatch:
    # The encoded commands, without the batch's own header.
    cdef char *data
    cdef readonly Py_ssize_t size_bytes
    cdef Py_ssize_t capacity
    # One a command, in order.
    cdef readonly list waiters

    cdef int reserve(self, Py_ssize_t extra) except -1
