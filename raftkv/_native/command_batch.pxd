"""Commands gathered for one Raft entry."""


cdef class CommandBatch:
    # The encoded commands, without the batch's own header and without `last`.
    cdef char *data
    cdef Py_ssize_t data_bytes
    cdef Py_ssize_t capacity
    # The payload of the last command, if it is large: it is copied when the batch is sealed.
    cdef bytes last
    # Of everything.
    cdef readonly Py_ssize_t size_bytes
    # One a command, in order.
    cdef readonly list waiters

    cdef int reserve(self, Py_ssize_t extra) except -1
    cdef int copy(self, bytes payload) except -1
