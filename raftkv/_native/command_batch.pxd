"""Commands gathered for one Raft entry."""

from raftkv._native.wire cimport Span

cdef enum:
    HEADER_BYTES = 20
    COMMAND_BYTES = 5
    HEADROOM_BYTES = HEADER_BYTES + COMMAND_BYTES    # in front of the payload of a lone command


cdef class CommandBatch:
    # The encoded commands, without the batch's own header and without `last`.
    cdef char *data
    cdef Py_ssize_t data_bytes
    cdef Py_ssize_t capacity
    # Ends with the payload of the last command, if that is large: it is copied when the batch is
    # sealed, or not even then.
    cdef bytes last
    cdef Py_ssize_t last_at       # where in `last` the payload begins
    # Nobody but this batch has seen `last`, nor what is in front of the payload, HEADROOM_BYTES.
    # So it may become the sealed batch, and then somebody has: it never changes again.
    cdef bint owns_last
    # Of everything.
    cdef readonly Py_ssize_t size_bytes
    # One a command, in order.
    cdef readonly list waiters

    cdef int reserve(self, Py_ssize_t extra) except -1
    cdef int copy(self, const char *payload, Py_ssize_t length) except -1
    cdef int begin(self, unsigned char kind, Py_ssize_t length, waiter) except -1
    cdef Span last_payload(self) noexcept
    cdef int keep(self, bytes last, Py_ssize_t last_at, bint owns_last) except -1
